"""A shop of drawn things, and a fine-tuning of the tiny network by them that can be killed.

python -m support.taught_shop    under a shop's environment: teaches, and kills itself after the epoch KILL_AFTER
"""

import os
import signal
from collections.abc import Mapping
from typing import Any

import pytest

from orchestration.deployment import Deployment
from orchestration.finetuning import finetune_shop
from support.drawn import drawn_square
from support.fault_server import FaultServer
from support.shops import Shop
from support.tiny_models import HANDLE, LABELS, offer_tiny, png
from vetrina.settings import Settings

LEARNT, HELD = 12, 5  # products of each kind
PLAN: Mapping[str, Any] = {"label": "kind", "base": HANDLE, "epochs": 4, "unfrozen": 1, "augment": False}
SPLIT = "part=held"


class Notes:
    """Progress that only remembers what was said; kills its process after an epoch, if told to."""

    def __init__(self, kill_after: int = 0) -> None:
        self.lines: list[str] = []
        self._kill_after = kill_after

    def begin(self, title: str) -> None:
        self.lines.append(title)

    def step(self, step: str, done: int, total: int) -> None:
        pass

    def note(self, line: str) -> None:
        self.lines.append(line)
        if self._kill_after and line.startswith(f"Epoch {self._kill_after}:"):
            os.kill(os.getpid(), signal.SIGKILL)

    def end(self) -> None:
        pass


def kind_pictures() -> dict[str, bytes]:
    """Address → picture, of every product."""
    numbers = range(LEARNT + HELD)
    return {f"/{label}-{number}.png": png(drawn_square(label, number, 64)) for label in LABELS for number in numbers}


def kind_rows(server: FaultServer) -> list[dict[str, str]]:
    """Products with a kind, the last few of each held out; a copy of one of those, two stars, one without one."""
    rows = [
        {
            "id": f"{label} {number}",
            "url": server.url(f"/{label}-{number}.png"),
            "kind": label,
            "part": "held" if number >= LEARNT else "learn",
            "same": "yes",
        }
        for label in LABELS
        for number in range(LEARNT + HELD)
    ]
    rows.append({"id": "copy", "url": server.url(f"/lime-{LEARNT}.png"), "kind": "lime", "part": "learn"})
    for number in (0, 1):
        rows.append({"id": f"star {number}", "url": server.url(f"/star-{number}.png"), "kind": "star", "part": "learn"})
    rows.append({"id": "nameless", "url": server.url("/star-2.png")})
    return rows


def teach(shop: Shop, **changes: Any) -> tuple[dict[str, Any], list[str]]:
    """As `vetrina finetune` by kind; the report and what was said."""
    notes = Notes()
    split = changes.pop("split", SPLIT)
    return finetune_shop(shop.deployment, {**PLAN, **changes}, split=split, progress=notes), notes.lines


if __name__ == "__main__":
    with pytest.MonkeyPatch.context() as environment:
        offer_tiny(environment)
        deployment = Deployment(Settings.from_environment())
        finetune_shop(
            deployment, {**PLAN, "seed": 5}, split=SPLIT, progress=Notes(kill_after=int(os.environ["KILL_AFTER"]))
        )
