"""A SavedModel in a role: what was found out about it, once, so that it can be named without being opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vetrina.errors import ModelError
from vetrina.models.families import Report
from vetrina.models.handles import Handle
from vetrina.models.saved_model_sources import shown_place
from vetrina.models.saved_models import bring, kept, place_of, read_record, role_record, write_record

Plan = dict[str, Any]
"""What was found out, as plain values; with the model's `digest` and the `code` version of who found it out."""


@dataclass(frozen=True, slots=True)
class SavedModelRole:
    """What SavedModels are used as.

    Attributes:
        name: detector or extractor.
        code: version of the code that inspects and uses them; raised by hand when its results change.
    """

    name: str
    code: int

    def plan(self, handle: Handle) -> Plan:
        """What is known of a model in this role; reads two small files. Raises ModelError when it was not prepared."""
        found, plan = kept(handle), self._plan(handle)
        if found is None or plan.get("digest") != found.digest or not found.folder.is_dir():
            raise ModelError(
                f"The {self.name} {shown_place(place_of(handle))} is not ready on this machine: run `vetrina models`"
            )
        return plan

    def prepare(self, handle: Handle, report: Report, inspect: Callable[[Path], Plan]) -> None:
        """Bring a model here and find out about it, both once.

        Args:
            inspect: gives the plan for the model in a folder; raises UnfitModel when it does not suit the role.

        Raises:
            ModelError: it cannot be had, or does not suit the role.
        """
        shown = shown_place(place_of(handle))
        found = bring(handle, report)
        if self._plan(handle).get("digest") == found.digest:
            return
        report(f"{self.name.capitalize()} {shown}: finding out what it takes and gives")
        plan = inspect(found.verified()) | {"digest": found.digest, "code": self.code}
        write_record(role_record(self.name, handle), plan)

    def folder(self, handle: Handle) -> Path:
        """Where a prepared model lies, after a look at every byte. Raises ModelError."""
        self.plan(handle)
        found = kept(handle)
        assert found is not None
        return found.verified()

    def files(self, handle: Handle) -> list[Path]:
        """The files of a prepared model. Raises ModelError."""
        found = kept(handle)
        return [] if found is None else sorted(found.folder.rglob("*"))

    def _plan(self, handle: Handle) -> Plan:
        plan = read_record(role_record(self.name, handle))
        return plan if plan.get("code") == self.code else {}
