"""Garbage: what the store keeps and nothing needs any more; `needed` says what must stay, `sweep` takes the rest."""
