"""Handles: the one text that names a model, in settings, in manifests and on the command line.

    bundled:efficientnet-lite0              weights that come in packages
    keras:ResNet50V2                        keras.applications
    models/1f0c…                            fine-tuned here, kept in the store
    https://tfhub.dev/…  s3://…  /a/folder  a SavedModel, at an address, as a folder or as a tar.gz

Options follow a `#`: `keras:MobileNetV2#alpha=1.4,weights=random`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType

from vetrina.errors import ModelError

SAVED_MODEL = "saved_model"
TUNED = "models"
_FINGERPRINT = re.compile(r"[0-9a-f]{16}")
_KIND = re.compile(r"([a-z][a-z0-9_]*):(?!/)(.+)", re.DOTALL)
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Handle:
    """A handle, taken apart.

    Attributes:
        text: as it was given.
        kind: which family of models opens it: the word before the colon, or `saved_model`, or `models`.
        name: the model within its family; for a SavedModel its address or path.
        options: what follows the `#`, in the order given.
    """

    text: str
    kind: str
    name: str
    options: tuple[tuple[str, str], ...] = ()

    def chosen(self, *known: str) -> MappingProxyType[str, str]:
        """The options by name. Raises ModelError for one that is not `known` or stands twice."""
        found: dict[str, str] = {}
        for name, value in self.options:
            if name not in known:
                said = f"it takes {', '.join(known)}" if known else "it takes none"
                raise ModelError(f"The model {self.text!r} has an unknown option {name!r}; {said}")
            if name in found:
                raise ModelError(f"The model {self.text!r} has the option {name!r} twice")
            found[name] = value
        return MappingProxyType(found)


def parse_handle(text: str) -> Handle:
    """Take a handle apart. Raises ModelError when it is none."""
    base, mark, tail = text.strip().partition("#")
    options = tuple(_option(text, part) for part in tail.split(",")) if mark else ()
    if not base:
        raise ModelError(f"The model handle {text!r} is empty; use for example bundled:efficientnet-lite0")
    if base.startswith("models/") and _FINGERPRINT.fullmatch(base.removeprefix("models/")):
        return Handle(text, TUNED, base.removeprefix("models/"), options)
    if found := _KIND.fullmatch(base):
        return Handle(text, found[1], found[2], options)
    if _ADDRESS.match(base) or "/" in base or base.startswith((".", "~")):
        return Handle(text, SAVED_MODEL, base, options)
    raise ModelError(
        f"{text!r} names no model: a handle is bundled:NAME, keras:NAME, models/FINGERPRINT, an https:// or s3:// "
        "address, or a path with a slash in it (./folder)"
    )


def _option(handle: str, part: str) -> tuple[str, str]:
    name, mark, value = part.partition("=")
    if not mark or not name or not value:
        raise ModelError(f"In the model handle {handle!r}, {part!r} is no option; write NAME=VALUE")
    return name, value
