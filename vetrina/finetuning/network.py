"""The network that is trained: a backbone cut in a frozen front and a back that learns, and the heads on it.

Needs Keras inside its functions only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vetrina.finetuning.plan import Plan

_MERGES = ("Add", "Concatenate")


@dataclass(frozen=True, slots=True)
class Network:
    """The parts of a network; they share their weights.

    Attributes:
        front: float32 preprocessed [n, side, side, 3] → what the back starts from; never trained.
        back: that → [n, pooled].
        classify: layer, pooled → logits [n, classes].
        project: layer, pooled → [n, projection]; None: no contrastive loss.
        extractor, classifier: as of `Trained`, over front and back.
    """

    front: Any
    back: Any
    classify: Any
    project: Any
    extractor: Any
    classifier: Any

    def trained_variables(self) -> tuple[list[Any], list[Any]]:
        """What learns: the unfrozen blocks' variables, and the heads'."""
        heads = [self.classify] if self.project is None else [self.classify, self.project]
        return list(self.back.trainable_variables), [v for head in heads for v in head.trainable_variables]


def build_network(backbone: Any, plan: Plan, classes: int) -> Network:
    """Cut a backbone's Keras model and put the heads on.

    The vector is the pooled numbers of the trained trunk, and beside them, each scaled to length 1, the projection
    that the contrastive loss shaped: the one keeps what is alike within a class, the other tells classes apart.
    """
    import keras

    cut = _cut(backbone, plan.unfrozen)
    front = _between(backbone.input, cut)
    back = _between(cut, backbone.output)
    for layer in back.layers:
        # Statistics of a few hundred pictures are worse than ImageNet's.
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    pooled = backbone.output

    def dense(units: int, name: str, seed: int) -> Any:
        return keras.layers.Dense(units, name=name, kernel_initializer=keras.initializers.GlorotUniform(seed))

    classify = dense(classes, "classes", plan.seed)
    classifier = keras.Model(backbone.input, keras.layers.Softmax(name="probabilities")(classify(pooled)))
    if not plan.contrastive:
        return Network(front, back, classify, None, keras.Model(backbone.input, pooled), classifier)
    project = dense(plan.projection, "projection", plan.seed + 1)
    unit = keras.layers.UnitNormalization
    vector = keras.layers.Concatenate(name="tuned_vector")(
        [unit(name="pooled_unit")(pooled), unit(name="projection_unit")(project(pooled))]
    )
    return Network(front, back, classify, project, keras.Model(backbone.input, vector), classifier)


def _between(start: Any, end: Any) -> Any:
    """The part of a network from one of its tensors to another, which may be the same."""
    import keras

    if start is not end:
        return keras.Model(start, end)
    same = keras.Input(start.shape[1:])
    return keras.Model(same, keras.layers.Identity()(same))


def block_ends(model: Any) -> list[Any]:
    """The tensors of a functional Keras model between two of its blocks, in order; through each passes everything.

    A block ends where a shortcut or branches are merged. A network without merges has a block for each layer with
    weights.
    """
    through = _articulations(model)
    merged = [(operation, tensor) for operation, tensor in through if type(operation).__name__ in _MERGES]
    if merged:
        return [tensor for _, tensor in merged]
    starts = [place for place, (operation, _) in enumerate(through) if getattr(operation, "weights", None)]
    return [through[place - 1][1] for place in starts if place > 0]


def _cut(model: Any, unfrozen: int) -> Any:
    if not unfrozen:
        return model.output
    ends = [tensor for tensor in block_ends(model) if tensor is not model.output]
    return ends[-unfrozen] if unfrozen <= len(ends) else model.input


def _articulations(model: Any) -> list[tuple[Any, Any]]:
    """Operations, in order, after which one tensor alone is still needed; and that tensor."""
    waiting: dict[int, int] = {}  # tensor → operations that still read it
    nodes = []
    ordered = sorted(model._nodes_by_depth.items(), reverse=True)
    for _, level in ordered:
        for node in level:
            nodes.append(node)
            for tensor in node.input_tensors:
                waiting[id(tensor)] = waiting.get(id(tensor), 0) + 1
    found, live = [], set()
    for node in nodes:
        for tensor in node.input_tensors:
            waiting[id(tensor)] -= 1
            if not waiting[id(tensor)]:
                live.discard(id(tensor))
        live |= {id(tensor) for tensor in node.output_tensors}
        if len(live) == 1 and len(node.output_tensors) == 1:
            found.append((node.operation, node.output_tensors[0]))
    return found
