"""What is shown: one state of the shop, its goods as lists, pictures as browsers get them, answers that were made."""
