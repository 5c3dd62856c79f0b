"""The index: built, tuned, measured, published and read; products made of items, items made of vectors."""
