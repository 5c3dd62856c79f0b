"""What is left of trainings that nobody went on with."""

import os
import time
from pathlib import Path

from vetrina.finetuning.finetuning import _forget_abandoned

DAY = 86_400


def left_by(folder: Path, days_ago: float) -> Path:
    """What a killed training left, last written to some days ago."""
    checkpoint = folder / "checkpoints" / "epoch-0001.checkpoint"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"numbers")
    for path in (checkpoint, checkpoint.parent, folder):
        os.utime(path, (time.time() - days_ago * DAY,) * 2)
    return folder


def test_a_training_abandoned_for_a_week_makes_room_and_no_other_does(tmp_path: Path) -> None:
    own, recent, old = (left_by(tmp_path / name, days) for name, days in (("own", 30), ("recent", 6), ("old", 8)))
    at_work = left_by(tmp_path / "at work", 30)
    (at_work / "checkpoints" / "epoch-0002.checkpoint").write_bytes(b"written just now")
    _forget_abandoned(own)
    assert own.exists() and recent.exists() and at_work.exists() and not old.exists()
    _forget_abandoned(tmp_path / "no such folder" / "key")
