"""Upkeep for the command line: serving an earlier index again, and deleting what nothing needs, as plain values."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import Any

from orchestration.deployment import Deployment
from resources.models import model_fingerprints
from vetrina.errors import SettingError
from vetrina.garbage.needed import Fingerprints
from vetrina.garbage.sweep import sweep
from vetrina.index.publishing import restore_table
from vetrina.index.versions import rollback, verify

_OLDEST = 36_500
"""Days: a century, which dates can be counted back by."""


def roll_back(deployment: Deployment, to: str | None) -> dict[str, Any]:
    """Serve an earlier index version, and its table of similar products, again. Raises NotFound, IndexDamaged."""
    published = rollback(deployment.store, to)
    table = restore_table(deployment.store, published, deployment.index.table())
    manifest = verify(deployment.store, published)
    in_use = deployment.extractor.identity().fingerprint
    other = manifest.fingerprints.get("extractor") != in_use
    return asdict(published) | {"table": table, "extractor": manifest.extractor or None, "other_extractor": other}


def collect_garbage(
    deployment: Deployment, *, keep_versions: int, older_than_days: float, dry_run: bool, models: bool = False
) -> dict[str, Any]:
    """Delete what the shop under these settings does not need; fine-tuned models if asked to. Raises SettingError."""
    if not 0 <= older_than_days <= _OLDEST:  # nan is not
        raise SettingError(f"--older-than is {older_than_days:g} days; it must be from 0 to {_OLDEST}")
    fingerprints = model_fingerprints(deployment.detector, deployment.extractor)
    now = Fingerprints(**fingerprints, table=deployment.index.table())
    grace = timedelta(days=older_than_days)
    swept = sweep(deployment.store, now, keep_versions=keep_versions, grace=grace, models=models, dry_run=dry_run)
    return swept.as_json()
