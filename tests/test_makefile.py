"""What `make` makes again, and that it needs nothing but its own folder."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
ROOMS = ["models", "detection", "embedding"]
"""Where the code is that fetches, checks and converts models."""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A fresh clone whose environment is installed; its command prepares models in a folder elsewhere."""
    shutil.copy(REPOSITORY / "Makefile", tmp_path)
    for file in ("requirements.lock", "pyproject.toml", *(f"vetrina/{room}/a.py" for room in ROOMS)):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    commands = tmp_path / ".venv/bin"
    commands.mkdir(parents=True)
    for name in ("vetrina", "pip"):
        (commands / name).write_text("#!/bin/sh\n")
        (commands / name).chmod(0o755)
    (tmp_path / ".venv/installed").touch()
    return tmp_path


def make(folder: Path, *arguments: str) -> int:
    return subprocess.run(["make", *arguments], cwd=folder, capture_output=True, timeout=60).returncode


def test_models_may_lie_elsewhere_than_in_the_clone(clone: Path) -> None:
    assert make(clone, "models") == 0
    assert make(clone, "--question", "models") == 0


@pytest.mark.parametrize("room", ROOMS)
def test_code_that_prepares_models_has_them_prepared_again(clone: Path, room: str) -> None:
    assert make(clone, "models") == 0
    made = (clone / ".models/ready").stat().st_mtime
    os.utime(clone / f"vetrina/{room}/a.py", (made + 10, made + 10))
    assert make(clone, "--question", "models") == 1
