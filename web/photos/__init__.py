"""Photos of strangers: had, held for the length of a request, and seen by the models."""
