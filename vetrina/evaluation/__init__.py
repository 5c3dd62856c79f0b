"""Measures of how good answers are, by their standard definitions."""
