"""A switch to another extractor, in stages, for the command line, as plain values.

The settings alone say which extractor is in use, in every process alike: what the command line published against them
the sensors of a running daemon would rebuild back. So a switch prepares everything beside what is served, and the
setting, once it is changed, finds everything made: the index of the new extractor is published at once, in one atomic
step, and until then the old one serves, with photos embedded by its own extractor.

1. Under the old setting: every batch is embedded by the new extractor, and its index is built aside and judged.
2. VETRINA_EXTRACTOR is set anew for every process. The sensor `rebuild` publishes, or this command, run again.
"""

from __future__ import annotations

from typing import Any

from dagster import DagsterInstance

from orchestration.deployment import Deployment
from orchestration.evaluation import showing
from orchestration.home import open_instance
from orchestration.intake import listening, publish_all
from orchestration.printing import Steps
from orchestration.runs import RunFailed
from orchestration.trials import embed_on_trial, identified
from vetrina.embedding.trials import cost_of, sample_crops, seconds_for_each
from vetrina.errors import NotFound
from vetrina.index.manifest import Manifest
from vetrina.index.publishing import check_recall
from vetrina.index.versions import current, verify
from vetrina.words import counted

_SAMPLE = 24  # crops that the time is estimated from
_NAMED = 5  # batches in a message


def switch_extractor(deployment: Deployment, model: str, *, dry_run: bool, progress: Steps) -> dict[str, Any]:
    """Go as far towards serving with an extractor as the settings allow; the index in place serves throughout.

    Under other settings the switch is prepared; under VETRINA_EXTRACTOR=`model` it is finished.

    Args:
        dry_run: only say what it would cost.

    Raises:
        ModelError: the model is unknown or cannot be used.
        NotFound: there is no index yet.
        RunFailed: the shop could not be embedded.
        RecallTooLow: the new index would serve below its target; nothing is published.
    """
    served = _served(deployment)
    new = deployment.with_extractor(model)
    identity = identified(new, progress)
    in_use = deployment.extractor.identity().fingerprint == identity.fingerprint
    cost = _cost(new)
    report: dict[str, Any] = {
        "model": model,
        "fingerprint": identity.fingerprint,
        "in_use": in_use,
        "dry_run": dry_run,
        "served": {"version": served[0], "extractor": served[1].extractor or None},
        "cost": cost,
        "summary": _cost_in_words(cost, model),
        "embedding": None,
        "index": None,
        "published": None,
        "lost": [],
        "problems": [],
    }
    progress.note(report["summary"])
    if dry_run:
        return report | {"next": "Nothing was done; leave --dry-run out to begin"}
    instance = open_instance()
    report["embedding"] = embed_on_trial(new, instance, progress)
    report["lost"] = _lost(report["embedding"], new)
    report["problems"] = _unreadable(report["embedding"])
    if report["lost"]:
        return report | {
            "next": f"Index {served[0]} goes on serving. A new one would lose the products of these batches; to go on "
            "without them, set VETRINA_EXTRACTOR and materialize similarity_index"
        }
    return report | (
        _finished(new, instance, model, progress) if in_use else _prepared(new, model, served[0], progress)
    )


def _served(deployment: Deployment) -> tuple[str, Manifest]:
    published = current(deployment.store)
    if published is None:
        raise NotFound(
            f"There is no index in {deployment.store.root} yet, so there is nothing to switch: set VETRINA_EXTRACTOR, "
            "then add a catalog"
        )
    return published.version, verify(deployment.store, published)


def _cost(new: Deployment) -> dict[str, Any]:
    """What is to be embedded, and about how long that takes here, from a measured sample."""
    labels = new.detector.labels_fingerprint()
    extractor = new.extractor.open(new.store)
    cost = cost_of(new.store, labels, extractor)
    seconds = 0.0
    if cost.to_embed:
        with new.decoder.open() as decoders:
            crops = sample_crops(new.store, labels, _SAMPLE, decoders)
        if crops:
            seconds = cost.to_embed * seconds_for_each(extractor, crops, new.decoder.workers)
    return {
        "batches": cost.batches,
        "crops": cost.crops,
        "to_embed": cost.to_embed,
        "seconds": round(seconds, 1),
    }


def _cost_in_words(cost: dict[str, Any], model: str) -> str:
    if not cost["batches"]:
        return f"Every batch is embedded by {model} already"
    return (
        f"{cost['to_embed']} of {counted(cost['crops'], 'crop', 'crops')} are to be embedded by {model}: about "
        f"{_duration(cost['seconds'])} of the network alone"
    )


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _lost(embedding: dict[str, Any] | None, new: Deployment) -> list[str]:
    """Why batches would be missing from the new index, in words."""
    failed = {} if embedding is None else embedding["failed"]
    lost = [f"Batch {key} could not be embedded: {why}" for key, why in failed.items()]
    others = [batch.key for batch in new.outdated() if batch.key not in failed]
    if others:
        named = ", ".join(others[:_NAMED]) + (f" and {len(others) - _NAMED} more" if len(others) > _NAMED else "")
        lost.append(
            f"{counted(len(others), 'batch is', 'batches are')} embedded by other models only: {named}. Run this "
            "again; what the detector in use has not seen comes with its own run (sensor model_change or `vetrina add`)"
        )
    return lost


def _unreadable(embedding: dict[str, Any] | None) -> list[str]:
    if embedding is None or not embedding["unreadable"]:
        return []
    pictures = counted(embedding["unreadable"], "picture", "pictures")
    return [f"{pictures} cannot be read any more, so their products are not in the new index"]


def _prepared(new: Deployment, model: str, served: str, progress: Steps) -> dict[str, Any]:
    """The first stage ends with the new index built aside and judged, so that no surprise is left for the last."""
    with showing(progress, f"Index of {model}, aside"), new.rehearsed_index() as index:
        check_recall(index.manifest)
        described = _described(index.manifest)
    return {
        "index": described,
        "next": f"All is prepared, and index {served} goes on serving. To switch, set VETRINA_EXTRACTOR={model} for "
        "every process and start the daemon anew: it publishes by itself. Without a daemon run this command again",
    }


def _finished(new: Deployment, instance: DagsterInstance, model: str, progress: Steps) -> dict[str, Any]:
    """The last stage: publish."""
    failed: list[dict[str, Any]] = []
    with listening(progress.step):
        published = publish_all(instance, progress, failed)
    if published is None:
        raise RunFailed("; ".join(failure["error"] for failure in failed))
    _, manifest = _served(new)
    done = "serves now" if published["built"] else "serves already"
    return {
        "published": published,
        "index": _described(manifest),
        "next": f"{model} {done}; `vetrina rollback` goes back to the index before",
    }


def _described(manifest: Manifest) -> dict[str, Any]:
    return {
        "products": manifest.products,
        "items": manifest.items,
        "dims": manifest.dims,
        "serve_with": manifest.serve_with,
        "recall": manifest.recall["recall"],
        "recall_lower_95": manifest.recall["lower_95"],
    }
