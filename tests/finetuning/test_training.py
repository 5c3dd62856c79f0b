import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.drawn import SIDE, drawn_examples, drawn_square, tiny_backbone

from vetrina.errors import ModelError, PictureError
from vetrina.finetuning.plan import Example, Plan, Trained
from vetrina.finetuning.training import train, train_backbone

PLAN = Plan("bundled:tiny", "category", epochs=25, learning_rate=0.03, unfrozen=2, batch=8, variants=2, dropout=0.0)
TESTS = Path(__file__).parent.parent
_KILLED = """
import os, signal, sys
from pathlib import Path
from support.drawn import drawn_examples, tiny_backbone
from test_training import PLAN
from vetrina.finetuning import learning
from vetrina.finetuning.training import train_backbone

counted = 0
inner = learning.Learner._set_rate
def set_rate(self, epoch, step):
    if (epoch, step) == (4, 2):
        os.kill(os.getpid(), signal.SIGKILL)
    return inner(self, epoch, step)
learning.Learner._set_rate = set_rate
train_backbone(tiny_backbone(), PLAN, drawn_examples(), Path(sys.argv[1]), lambda line: None)
"""


def weights(trained: Trained) -> list[np.ndarray]:
    return [*trained.model.get_weights(), *trained.classifier.get_weights()]


def same(one: Trained, other: Trained) -> bool:
    figures = [[{**epoch, "seconds": 0.0} for epoch in trained.history] for trained in (one, other)]
    return figures[0] == figures[1] and all(
        np.array_equal(first, second) for first, second in zip(weights(one), weights(other), strict=True)
    )


@pytest.fixture(scope="session")
def through(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trained, Path, list[str]]:
    """A run that was not interrupted, its folder, and what it said."""
    folder, said = tmp_path_factory.mktemp("through"), []
    return train_backbone(tiny_backbone(), PLAN, drawn_examples(), folder, said.append), folder, said


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., tuple[Trained, list[str]]]:
    """Trains in the test's own folder."""

    def running(examples: list[Example] | None = None, **changes: Any) -> tuple[Trained, list[str]]:
        said: list[str] = []
        plan = dataclasses.replace(PLAN, **changes)
        examples = drawn_examples() if examples is None else examples
        return train_backbone(tiny_backbone(), plan, examples, tmp_path / "run", said.append), said

    return running


def test_training_learns(through: tuple[Trained, Path, list[str]]) -> None:
    trained, _, _ = through
    assert trained.classes == ("cherry", "lime", "plum")
    assert trained.history[-1]["loss"] < trained.history[0]["loss"]
    assert trained.history[trained.best_epoch - 1]["val_accuracy"] >= 0.8
    assert trained.history[trained.best_epoch - 1]["val_loss"] == min(epoch["val_loss"] for epoch in trained.history)


def test_the_result_says_what_was_learnt_from_and_what_was_held_out(
    through: tuple[Trained, Path, list[str]],
) -> None:
    trained, _, said = through
    assert sorted(trained.split) == sorted(example.product_id for example in drawn_examples())
    assert trained.held_out == "test"
    assert set(trained.tested) == {product for product, part in trained.split.items() if part == "test"}
    assert [trained.classes[place] for place in trained.truth] == [one.rpartition("-")[0] for one in trained.tested]
    squares = [drawn_square(*_named(product)) for product in trained.tested]
    pictures = np.stack([trained.preprocessing.of_square(square) for square in squares])
    assert (np.asarray(trained.classifier(pictures)).argmax(axis=1) == trained.predicted).all()
    assert np.asarray(trained.model(pictures)).shape == (len(squares), trained.dims)
    assert trained.base_fingerprint == tiny_backbone().fingerprint and len(trained.data_digest) == 64
    assert said[0] == "3 classes; pictures: 27 train, 6 validation, 3 test"
    assert said[1].startswith("Frozen part: 36 pictures and 2 augmented copies of each of 27, ")
    assert said[2].startswith("Epoch 1: loss ") and said[2].endswith("s, the best so far")


def _named(product: str) -> tuple[str, int, int]:
    label, _, number = product.rpartition("-")
    return label, int(number), SIDE


def test_a_run_leaves_checkpoints_and_logs_but_no_cache(through: tuple[Trained, Path, list[str]]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    trained, folder, _ = through
    assert sorted(entry.name for entry in folder.iterdir()) == ["checkpoints", "tensorboard"]
    logs = EventAccumulator(str(folder / "tensorboard"), size_guidance={"tensors": 0})
    logs.Reload()
    logged = [float(make_ndarray(event.tensor_proto)) for event in logs.Tensors("val_loss")]
    assert logged == pytest.approx([epoch["val_loss"] for epoch in trained.history])


def test_two_runs_give_the_same_weights_and_another_seed_others(
    through: tuple[Trained, Path, list[str]], run: Callable[..., tuple[Trained, list[str]]]
) -> None:
    assert same(run()[0], through[0])
    other, said = run(seed=18)
    assert not same(other, through[0])
    assert any("is of another plan, other pictures or another base model" in line for line in said)


def test_a_run_that_was_killed_goes_on_and_ends_as_if_it_had_not_been(
    through: tuple[Trained, Path, list[str]], run: Callable[..., tuple[Trained, list[str]]], tmp_path: Path
) -> None:
    path = os.pathsep.join(map(str, (TESTS.parent, TESTS, TESTS / "finetuning")))
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, str(tmp_path / "run")],
        env={**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        timeout=300,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-2000:]
    trained, said = run()
    assert "The run goes on after epoch 3" in said
    assert any(line.startswith("Frozen part: that of an earlier run") for line in said)
    assert next(line for line in said if line.startswith("Epoch")).startswith("Epoch 4:")
    assert same(trained, through[0])


def test_a_cut_checkpoint_costs_an_epoch_and_changes_nothing(
    through: tuple[Trained, Path, list[str]], run: Callable[..., tuple[Trained, list[str]]], tmp_path: Path
) -> None:
    run()
    newest = max((tmp_path / "run" / "checkpoints").iterdir())
    newest.write_bytes(newest.read_bytes()[:-100])
    trained, said = run()
    assert f"The checkpoint {newest.name} is cut or altered: it is removed, and the run goes on without it" in said
    assert f"The run goes on after epoch {len(trained.history) - 1}" in said
    assert same(trained, through[0])


def test_training_stops_when_nothing_gets_better(run: Callable[..., tuple[Trained, list[str]]]) -> None:
    trained, said = run(epochs=50, patience=2, learning_rate=1e-12, augment=False, contrastive=0.0)
    assert len(trained.history) == trained.best_epoch + 2 < 50
    assert said[-1] == "No better epoch for 2 epochs: training stops"
    again, said = run(epochs=50, patience=2, learning_rate=1e-12, augment=False, contrastive=0.0)
    assert same(again, trained) and not [line for line in said if line.startswith("Epoch")]


def test_a_loss_that_is_no_number_ends_the_run_at_once(run: Callable[..., tuple[Trained, list[str]]]) -> None:
    message = r"loss is (nan|inf) in epoch \d of the training, at a learning rate of .*Train with a lower learning rate"
    with pytest.raises(ModelError, match=message):
        run(learning_rate=1e30)


def test_without_a_test_part_the_validation_part_is_reported(run: Callable[..., tuple[Trained, list[str]]]) -> None:
    trained, _ = run(test_share=0.0, epochs=1)
    assert trained.held_out == "validation" and len(trained.tested) == 6
    assert (trained.truth == trained.predicted).mean() == pytest.approx(trained.history[0]["val_accuracy"])


def test_small_classes_and_unreadable_pictures_are_said_and_left_out(
    run: Callable[..., tuple[Trained, list[str]]],
) -> None:
    def unreadable(side: int) -> np.ndarray:
        raise PictureError("truncated", "the file is cut")

    broken = [Example(f"broken-{number}", "lime", f"broken-{number}", unreadable) for number in range(7)]
    few = [Example("fig-1", "fig", "fig-1", lambda side: drawn_square("plum", 77, side))]
    trained, said = run([*drawn_examples(), *broken, *few], epochs=1)
    assert trained.left_out == {"fig": 1} and len(trained.unreadable) == 7
    assert said[0].startswith("7 of 44 pictures cannot be read (broken-0: the file is cut; ")
    assert said[0].endswith("; and 2 more); they are left out")
    assert said[1] == "The class 'fig' has 1 different products, fewer than 5: it is left out"
    assert "broken-1" not in trained.split and "fig-1" not in trained.split


def test_products_that_show_the_same_are_never_in_two_parts(run: Callable[..., tuple[Trained, list[str]]]) -> None:
    twins = [
        dataclasses.replace(one, product_id=f"{one.product_id}b", group=f"{one.group}b") for one in drawn_examples()
    ]
    trained, _ = run([*drawn_examples(), *twins], epochs=1)
    for product in (example.product_id for example in drawn_examples()):
        assert trained.split[product] == trained.split[f"{product}b"]


def test_labels_are_refused_before_a_picture_is_read(tmp_path: Path) -> None:
    def never(side: int) -> np.ndarray:
        raise AssertionError("was read")

    examples = [Example(str(number), "lime", str(number), never) for number in range(30)]
    with pytest.raises(ModelError, match="All pictures have the same category, 'lime'"):
        train(dataclasses.replace(PLAN, base="bundled:efficientnet-lite0"), examples, tmp_path / "run", print)
    assert not (tmp_path / "run").exists()


def test_pictures_none_of_which_can_be_read_are_an_error(tmp_path: Path) -> None:
    def unreadable(side: int) -> np.ndarray:
        raise PictureError("truncated", "the file is cut")

    examples = [dataclasses.replace(example, square=unreadable) for example in drawn_examples()]
    with pytest.raises(ModelError, match="Nothing can be learnt: 36 of 36 pictures cannot be read"):
        train_backbone(tiny_backbone(), PLAN, examples, tmp_path, print)


def test_a_base_that_cannot_be_trained_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be trained further"):
        train(dataclasses.replace(PLAN, base="/some/folder"), drawn_examples(), tmp_path, print)
