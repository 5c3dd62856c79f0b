from pathlib import Path

import numpy as np
import pytest

from vetrina.errors import ModelError
from vetrina.finetuning.checkpoints import Checkpoint, Checkpoints


def written(folder: Path, epochs: int = 3, run: str = "a") -> tuple[Checkpoints, list[str]]:
    said: list[str] = []
    checkpoints = Checkpoints(folder, run, said.append)
    for epoch in range(1, epochs + 1):
        checkpoints.write(Checkpoint(epoch, {"w": np.full(5, epoch, np.float32)}, {"best": epoch}))
    return checkpoints, said


def test_the_newest_checkpoint_comes_back_as_it_was_and_the_one_before_is_kept(tmp_path: Path) -> None:
    checkpoints, said = written(tmp_path)
    newest = checkpoints.newest()
    assert newest is not None and newest.epoch == 3 and newest.state == {"best": 3}
    assert newest.arrays.keys() == {"w"} and newest.arrays["w"].dtype == np.float32
    assert (newest.arrays["w"] == 3).all() and not said
    assert sorted(file.name for file in tmp_path.iterdir()) == ["epoch-0002.checkpoint", "epoch-0003.checkpoint"]


def test_without_checkpoints_a_run_begins_anew(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "none", "a", print).newest() is None


@pytest.mark.parametrize("damage", ["cut", "altered", "empty", "other"])
def test_a_cut_or_altered_checkpoint_gives_way_to_the_one_before(tmp_path: Path, damage: str) -> None:
    checkpoints, said = written(tmp_path)
    file = tmp_path / "epoch-0003.checkpoint"
    data = file.read_bytes()
    middle = len(data) // 2
    flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
    file.write_bytes({"cut": data[:middle], "altered": flipped, "empty": b"", "other": b"no checkpoint"}[damage])
    newest = checkpoints.newest()
    assert newest is not None and newest.epoch == 2
    assert said == [
        "The checkpoint epoch-0003.checkpoint is cut or altered: it is removed, and the run goes on without it"
    ]
    assert not file.exists()


def test_what_a_killed_writer_left_is_cleared_away(tmp_path: Path) -> None:
    checkpoints, _ = written(tmp_path)
    (tmp_path / ".epoch-0004.checkpoint.x7y").write_bytes(b"half")
    assert checkpoints.newest() is not None
    assert sorted(file.name for file in tmp_path.iterdir()) == ["epoch-0002.checkpoint", "epoch-0003.checkpoint"]


def test_checkpoints_of_another_run_are_no_use(tmp_path: Path) -> None:
    written(tmp_path, run="other")
    said: list[str] = []
    assert Checkpoints(tmp_path, "a", said.append).newest() is None
    assert len(said) == 2 and "is of another plan, other pictures or another base model" in said[0]
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match=r"Cannot write .*epoch-0001"):
        Checkpoints(tmp_path / "file", "a", print).write(Checkpoint(1, {}, {}))
