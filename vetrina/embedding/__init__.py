"""Turning a picture into a vector: extractors and the arithmetic of vectors."""
