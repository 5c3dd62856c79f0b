"""Getting models ready: at installation, before a command needs them, and which of them are on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from orchestration.deployment import Deployment
from vetrina.detection.detector import DEFAULT_DETECTOR, detector_files, identify_detector, prepare_detector
from vetrina.embedding.extractor import DEFAULT_EXTRACTOR, extractor_files, identify_extractor, prepare_extractor
from vetrina.errors import ModelError, UnfitModel
from vetrina.models.families import Report
from vetrina.models.handles import TUNED, parse_handle
from vetrina.models.prepared import Prepared, list_prepared

ROLES = ("extractor", "detector")
"""In the order in which they are tried: only extractors have options of their own."""


def prepare_wanted(deployment: Deployment, report: Report) -> None:
    """Get the bundled models ready, and those that the settings name. Raises ModelError."""
    bundled = [Prepared("detector", DEFAULT_DETECTOR), Prepared("extractor", DEFAULT_EXTRACTOR)]
    for model in dict.fromkeys([*bundled, *_named(deployment)]):
        _prepare(deployment, model, report)


def prepare_handles(deployment: Deployment, handles: Sequence[str], role: str | None, report: Report) -> None:
    """Get models ready by their handles.

    Args:
        role: detector or extractor; None: whichever the model turns out to be.

    Raises:
        ModelError: one cannot be had, or suits no role.
    """
    for handle in handles:
        refused = []
        for tried in ROLES if role is None else (role,):
            try:
                _prepare(deployment, Prepared(tried, handle), report)
                break
            except UnfitModel as error:
                refused.append(str(error))
        else:
            raise UnfitModel("; ".join(refused))


def prepare_missing(deployment: Deployment, report: Report) -> None:
    """Get those models ready that the settings name and that are not; offline they are an error. Raises ModelError."""
    for model in _named(deployment):
        try:
            _fingerprint(model)
        except ModelError:
            if deployment.settings.offline:
                raise
            _prepare(deployment, model, report)


def models_here() -> list[dict[str, Any]]:
    """The models on this machine: role, handle, kind, fingerprint and bytes; or why one cannot be used."""
    found: list[dict[str, Any]] = []
    for model in list_prepared():
        kind, fingerprint, size, problem = None, None, None, None
        try:
            kind = parse_handle(model.handle).kind
            fingerprint = _fingerprint(model)
            files = (detector_files if model.role == "detector" else extractor_files)(model.handle)
            size = sum(file.stat().st_size for file in files if file.is_file())
        except (ModelError, OSError) as error:
            problem = str(error)
        found.append(asdict(model) | {"kind": kind, "fingerprint": fingerprint, "bytes": size, "problem": problem})
    return found


def _named(deployment: Deployment) -> list[Prepared]:
    settings = deployment.settings
    return [Prepared("detector", settings.detector), Prepared("extractor", settings.extractor)]


def _fingerprint(model: Prepared) -> str:
    identify = identify_detector if model.role == "detector" else identify_extractor
    return identify(model.handle).fingerprint


def _prepare(deployment: Deployment, model: Prepared, report: Report) -> None:
    if model.role == "detector":
        prepare_detector(model.handle, report)
        return
    # Opening the store makes its folder; only fine-tuned models lie there.
    store = deployment.store if parse_handle(model.handle).kind == TUNED else None
    prepare_extractor(model.handle, store, report)
