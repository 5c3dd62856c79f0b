"""Families of models: who names, fetches and opens the models of one kind of handle."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from vetrina.errors import UnfitModel
from vetrina.models.handles import SAVED_MODEL, TUNED, Handle

if TYPE_CHECKING:
    from vetrina.store import Store

_SHOWN = 8  # names in a message
Identity = TypeVar("Identity")
Model = TypeVar("Model")
Report = Callable[[str], None]
"""Gets one line that a person can read for each thing that was done."""


@dataclass(frozen=True)
class Family(Generic[Identity, Model]):
    """How the models of one kind of handle are dealt with. Each call may raise ModelError.

    Attributes:
        identify: names a model without opening it; must not load TensorFlow, for a scheduler calls it. A model that
            cannot be named before it was fetched, and was not, is a ModelError that says so.
        prepare: brings a model onto this machine (downloads, converts, inspects), so that it can be named and opened
            without a network. Idempotent. The store is where fine-tuned models lie.
        open: opens a model, preparing it first where that is cheap enough to be waited for.
        files: what a prepared model takes on this machine, to say how much that is.
    """

    identify: Callable[[Handle], Identity]
    prepare: Callable[[Handle, Store | None, Report], None]
    open: Callable[[Handle, Store | None], Model]
    files: Callable[[Handle], Sequence[Path]] = lambda handle: ()


def family_of(role: str, handle: Handle, families: Mapping[str, Callable[[], Family[Identity, Model]]]) -> Family:
    """The family of a handle. Raises ModelError, with the nearest kind, when there is none.

    Args:
        role: detector or extractor, for the message.
    """
    if handle.kind not in families:
        words = [f"{kind}:" for kind in families if kind not in (TUNED, SAVED_MODEL)]
        raise unknown(role, handle.text, [*words, "an address", "a path"] if SAVED_MODEL in families else words)
    return families[handle.kind]()


def unknown(role: str, text: str, known: Iterable[str]) -> UnfitModel:
    """The error for a model that there is not, with the nearest one that there is."""
    names = list(known)
    near = difflib.get_close_matches(text, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    some = f"{', '.join(names[:_SHOWN])} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ", ".join(names)
    return UnfitModel(f"Unknown {role} {text!r}: {hint}{role.capitalize()}s: {some}")
