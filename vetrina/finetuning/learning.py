"""The epochs: steps of gradient descent, early stopping, checkpoints and logs.

Adam (Kingma & Ba 2015) at a rate that rises for one epoch and falls along a half cosine (Loshchilov & Hutter 2017,
without restarts); the best epoch is the one with the lowest validation loss.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vetrina.errors import ModelError
from vetrina.finetuning.checkpoints import Checkpoint, Checkpoints
from vetrina.finetuning.frozen import Frozen
from vetrina.finetuning.losses import balanced_weights, cross_entropy, supervised_contrastive
from vetrina.finetuning.network import Network
from vetrina.finetuning.plan import Plan

_AT_ONCE = 64  # examples whose logits are computed in one call


@dataclass(frozen=True, slots=True)
class Lesson:
    """What is learnt from: the front's rows of n pictures, and of which.

    Attributes:
        frozen: the rows.
        classes: int64 [n]; below 0 where a picture belongs to no part.
        train, validation: places of the pictures of the two parts.
    """

    frozen: Frozen
    classes: np.ndarray
    train: np.ndarray
    validation: np.ndarray


class Learner:
    """A network that is being trained."""

    def __init__(self, network: Network, plan: Plan, lesson: Lesson) -> None:
        import keras
        import tensorflow as tf

        self._network, self._plan, self._lesson = network, plan, lesson
        trunk, heads = network.trained_variables()
        self._trained = [*trunk, *heads]
        self._parts = [
            (variables, keras.optimizers.Adam(plan.learning_rate), share)
            for variables, share in ((trunk, plan.trunk_rate), (heads, 1.0))
            if variables
        ]
        for variables, optimizer, _ in self._parts:
            optimizer.build(variables)
        weights = balanced_weights(lesson.classes[lesson.train], network.classify.units)
        self._class_weights = tf.constant(weights)
        shape = lesson.frozen.rows.shape[1:]
        rows, classes = tf.TensorSpec((None, *shape), tf.float32), tf.TensorSpec((None,), tf.int64)
        seeds = tf.TensorSpec((2,), tf.int64)
        self._step = tf.function(self._one_step, input_signature=[rows, classes, seeds])
        self._answer = tf.function(self._logits, input_signature=[rows])

    def learn(
        self, checkpoints: Checkpoints, logs: Path, report: Callable[[str], None]
    ) -> tuple[list[dict[str, float]], int]:
        """Train to the end and restore the best epoch's weights.

        Returns:
            The history (as of `Trained`) and the best epoch.

        Raises:
            ModelError: the loss is no number any more.
        """
        history: list[dict[str, float]] = []
        best, best_weights = 0, self._weights()
        if (begun := checkpoints.newest()) is not None:
            history, best, best_weights = self._restore(begun)
            report(f"The run goes on after epoch {begun.epoch}")
        with closing(_Logs(logs, history)) as written:
            for epoch in range(len(history) + 1, self._plan.epochs + 1):
                if best and epoch - best > self._plan.patience:
                    report(f"No better epoch for {self._plan.patience} epochs: training stops")
                    break
                history.append(self._epoch(epoch))
                if not best or history[-1]["val_loss"] < history[best - 1]["val_loss"]:
                    best, best_weights = epoch, self._weights()
                checkpoints.write(self._checkpoint(history, best, best_weights))
                written.add(epoch, history[-1])
                report(_line(epoch, history[-1], best))
        for variable, value in zip(self._trained, best_weights, strict=True):
            variable.assign(value)
        return history, best

    def logits(self, places: np.ndarray) -> np.ndarray:
        """The classifier's logits of pictures as they are: float32 [n, classes]."""
        blocks = [places[start : start + _AT_ONCE] for start in range(0, len(places), _AT_ONCE)]
        return np.concatenate([self._answer(self._lesson.frozen.plain(block)).numpy() for block in blocks])

    def _epoch(self, epoch: int) -> dict[str, float]:
        began = time.perf_counter()
        losses, right, seen = 0.0, 0, 0
        for number, (rows, classes) in enumerate(self._batches(epoch)):
            rate = self._set_rate(epoch, number)
            loss, hits = (part.numpy() for part in self._step(rows, classes, np.array([self._seed(epoch), number])))
            _check_finite("loss", float(loss), epoch, rate)
            losses, right, seen = losses + float(loss) * len(rows), right + int(hits), seen + len(rows)
        val_loss, val_accuracy = self._validate()
        _check_finite("validation loss", val_loss, epoch, rate)
        return {
            "loss": losses / seen,
            "accuracy": right / seen,
            "val_loss": val_loss,
            "val_accuracy": val_accuracy,
            "learning_rate": rate,
            "seconds": time.perf_counter() - began,
        }

    def _batches(self, epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        rng = np.random.default_rng((self._plan.seed, epoch))
        frozen, train = self._lesson.frozen, self._lesson.train
        members = rng.permutation(len(train))
        versions = rng.integers(0, frozen.variants + 1, len(train))
        for start in range(0, len(train), self._plan.batch):
            chosen = slice(start, start + self._plan.batch)
            yield frozen.drawn(members[chosen], versions[chosen]), self._lesson.classes[train[members[chosen]]]

    def _one_step(self, rows: Any, classes: Any, seeds: Any) -> tuple[Any, Any]:
        """The loss of a batch before the step, and how many of it were right."""
        import tensorflow as tf

        plan, network = self._plan, self._network
        with tf.GradientTape() as tape:
            pooled = network.back(rows, training=False)  # batch statistics stay those of the base
            kept = tf.nn.experimental.stateless_dropout(pooled, plan.dropout, seeds, rng_alg="philox")
            logits = network.classify(kept)
            weights = tf.gather(self._class_weights, classes)
            loss = tf.reduce_mean(weights * cross_entropy(logits, classes, plan.smoothing))
            if network.project is not None:
                projected = network.project(pooled)
                loss += plan.contrastive * supervised_contrastive(projected, classes, plan.temperature)
        gradients = tape.gradient(loss, self._trained)
        done = 0
        for variables, optimizer, _ in self._parts:
            optimizer.apply(gradients[done : done + len(variables)], variables)
            done += len(variables)
        right = tf.reduce_sum(tf.cast(tf.argmax(logits, axis=1) == classes, tf.int64))
        return loss, right

    def _logits(self, rows: Any) -> Any:
        return self._network.classify(self._network.back(rows, training=False))

    def _validate(self) -> tuple[float, float]:
        places = self._lesson.validation
        classes, logits = self._lesson.classes[places], self.logits(places).astype(np.float64)
        with np.errstate(invalid="ignore"):  # of weights that ran away, which is said in words later
            logits -= logits.max(axis=1, keepdims=True)
        losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(places)), classes]
        return float(losses.mean()), float((logits.argmax(axis=1) == classes).mean())

    def _set_rate(self, epoch: int, step: int) -> float:
        steps = math.ceil(len(self._lesson.train) / self._plan.batch)
        done = (epoch - 1) * steps + step
        rising = (done + 1) / steps
        falling = 0.5 * (1 + math.cos(math.pi * done / (steps * self._plan.epochs)))
        rate = self._plan.learning_rate * min(1.0, rising) * falling
        for _, optimizer, share in self._parts:
            optimizer.learning_rate.assign(rate * share)
        return rate

    def _seed(self, epoch: int) -> int:
        return self._plan.seed * 1_000_003 + epoch

    def _weights(self) -> list[np.ndarray]:
        return [variable.numpy() for variable in self._trained]

    def _moving(self) -> list[Any]:
        """Every variable that a step changes."""
        return [*self._trained, *(variable for _, optimizer, _ in self._parts for variable in optimizer.variables)]

    def _checkpoint(self, history: list[dict[str, float]], best: int, best_weights: list[np.ndarray]) -> Checkpoint:
        arrays = {f"now-{number}": np.asarray(variable) for number, variable in enumerate(self._moving())}
        arrays |= {f"best-{number}": value for number, value in enumerate(best_weights)}
        return Checkpoint(len(history), arrays, {"history": history, "best": best})

    def _restore(self, begun: Checkpoint) -> tuple[list[dict[str, float]], int, list[np.ndarray]]:
        for number, variable in enumerate(self._moving()):
            variable.assign(begun.arrays[f"now-{number}"])
        best_weights = [begun.arrays[f"best-{number}"] for number in range(len(self._trained))]
        return list(begun.state["history"]), int(begun.state["best"]), best_weights


def _check_finite(name: str, value: float, epoch: int, rate: float) -> None:
    if not math.isfinite(value):
        raise ModelError(
            f"The {name} is {value} in epoch {epoch} of the training, at a learning rate of {rate:.1e}: nothing was "
            "published. Train with a lower learning rate"
        )


def _line(epoch: int, figures: dict[str, float], best: int) -> str:
    mark = ", the best so far" if best == epoch else ""
    return (
        f"Epoch {epoch}: loss {figures['loss']:.3f}, accuracy {figures['accuracy']:.3f}; validation "
        f"{figures['val_loss']:.3f}, {figures['val_accuracy']:.3f}; {figures['seconds']:.1f} s{mark}"
    )


class _Logs:
    """The history for TensorBoard, as it grows; that of an earlier part of the run is written again."""

    def __init__(self, folder: Path, history: list[dict[str, float]]) -> None:
        import tensorflow as tf

        for old in folder.glob("events.out.*"):
            old.unlink()
        self._summary = tf.summary
        self._writer = tf.summary.create_file_writer(str(folder))
        for epoch, figures in enumerate(history, start=1):
            self.add(epoch, figures)

    def add(self, epoch: int, figures: dict[str, float]) -> None:
        with self._writer.as_default():
            for name, value in figures.items():
                self._summary.scalar(name, value, step=epoch)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
