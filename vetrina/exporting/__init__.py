"""The table of similar products, handed to others: as files and into a shop's database, whole or changes only."""
