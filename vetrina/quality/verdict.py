"""What a judgement is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Verdict:
    """One judgement.

    Attributes:
        check: its name.
        passed: whether all is well, or too little is known to say otherwise.
        message: what was found and, where it is not well, what to do.
        facts: the figures behind it, as plain values.
    """

    check: str
    passed: bool
    message: str
    facts: dict[str, Any] = field(default_factory=dict)
