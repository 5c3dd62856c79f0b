"""Which models were made ready on this machine, and as what: one small file for each, for people to list."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from vetrina.models.files import models_folder, sha256_hex, write_atomically

_FOLDER = "prepared"


@dataclass(frozen=True, slots=True, order=True)
class Prepared:
    """A model that was made ready: its role (detector or extractor) and its handle."""

    role: str
    handle: str


def note_prepared(model: Prepared) -> None:
    """Remember a model that was made ready. Raises ModelError when that cannot be written."""
    data = json.dumps(asdict(model), ensure_ascii=False).encode()
    file = models_folder() / _FOLDER / f"{sha256_hex(data)[:32]}.json"
    if not file.exists():
        write_atomically(file, data)


def list_prepared() -> list[Prepared]:
    """All that were made ready, in the order of role and handle. What cannot be read is passed over."""
    found = []
    for file in (models_folder() / _FOLDER).glob("*.json"):
        try:
            values = json.loads(file.read_bytes())
            found.append(Prepared(str(values["role"]), str(values["handle"])))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return sorted(found)
