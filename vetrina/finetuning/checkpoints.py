"""Checkpoints of a training run: a file for each epoch that is whole or not there, and that says when it was altered.

A file is the sha256 of what follows, a line feed, and a numpy archive of arrays and of one JSON text. It is written
aside and renamed, so a run that is killed leaves the one before. A checkpoint belongs to one run (plan, pictures,
base model); those of another are no use and are removed.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vetrina.models.files import sha256_hex, write_atomically

_KEPT = 2
_STATE = "state"
_DIGEST = 64


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A run after an epoch.

    Attributes:
        epoch: epochs done, from 1.
        arrays: weights and the optimizer's numbers, by name.
        state: everything else, as plain values.
    """

    epoch: int
    arrays: Mapping[str, np.ndarray]
    state: Mapping[str, Any]


class Checkpoints:
    """The checkpoints of a run in a folder.

    Args:
        run: names the run; changes with anything that changes its result.
        report: is told of checkpoints that cannot be used.
    """

    def __init__(self, folder: Path, run: str, report: Callable[[str], None]) -> None:
        self._folder = folder
        self._run = run
        self._report = report

    def write(self, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint, and the one before it. Raises ModelError when the disk is full or may not be written."""
        buffer = io.BytesIO()
        state = json.dumps({"run": self._run, "state": dict(checkpoint.state)})
        arrays: dict[str, Any] = {**checkpoint.arrays, _STATE: np.frombuffer(state.encode(), np.uint8)}
        np.savez(buffer, **arrays)
        data = buffer.getvalue()
        write_atomically(self._path(checkpoint.epoch), sha256_hex(data).encode() + b"\n" + data)
        for _, path in self._present()[:-_KEPT]:
            path.unlink(missing_ok=True)

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint of this run that is whole; None: the run begins anew. Others are removed."""
        for left_by_a_killed_run in self._folder.glob(".epoch-*"):
            left_by_a_killed_run.unlink()
        for epoch, path in reversed(self._present()):
            try:
                return self._read(epoch, path)
            except _Unusable as reason:
                self._report(f"The checkpoint {path.name} {reason}: it is removed, and the run goes on without it")
                path.unlink(missing_ok=True)
        return None

    def _read(self, epoch: int, path: Path) -> Checkpoint:
        try:
            said, _, data = path.read_bytes().partition(b"\n")
            if len(said) != _DIGEST or sha256_hex(data).encode() != said:
                raise _Unusable("is cut or altered")
            with np.load(io.BytesIO(data), allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            state = json.loads(arrays.pop(_STATE).tobytes())
            run, inner = state["run"], state["state"]
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            raise _Unusable("cannot be read") from error
        if run != self._run:
            raise _Unusable("is of another plan, other pictures or another base model")
        return Checkpoint(epoch, arrays, inner)

    def _present(self) -> list[tuple[int, Path]]:
        return sorted((int(path.stem.removeprefix("epoch-")), path) for path in self._folder.glob("epoch-*.checkpoint"))

    def _path(self, epoch: int) -> Path:
        return self._folder / f"epoch-{epoch:04d}.checkpoint"


class _Unusable(Exception):
    """A checkpoint cannot be used, and why."""
