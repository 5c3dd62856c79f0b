"""Wording of messages."""


def counted(count: int, one: str, many: str) -> str:
    """The number with its noun: "1 batch", "3 batches"."""
    return f"{count} {one if count == 1 else many}"
