"""Code versions: what makes which assets stale. A model, class list or setting is part of what an asset is made by.

Nothing here reads weights, so that definitions load before the models are fetched.
"""

from __future__ import annotations

from dataclasses import asdict

from resources.evaluation import EvaluationResource
from resources.index import IndexResource
from resources.models import DetectorResource, ExtractorResource, model_fingerprints
from vetrina.models import fingerprint_of

# Raised by hand when the code makes something else of the same input.
_CATALOG, _PICTURES, _TRAINING_SET, _TUNING, _EVALUATION = "1", "1", "1", "1", "1"


def code_versions(
    detector: DetectorResource, extractor: ExtractorResource, index: IndexResource, evaluation: EvaluationResource
) -> dict[str, str]:
    """Asset → code version. Raises ModelError, SettingError."""
    fingerprints = model_fingerprints(detector, extractor)
    built = fingerprint_of({"models": fingerprints, "settings": asdict(index.settings())})
    return {
        "catalog": _CATALOG,
        "raw_images": _PICTURES,
        "crops": fingerprints["labels"],
        "label_table": fingerprints["labels"],
        "embeddings": fingerprints["embeddings"],
        "similarity_index": built,
        "evaluation": fingerprint_of({"index": built, "label": evaluation.label, "code": _EVALUATION}),
        "training_set": _TRAINING_SET,
        "tuned_extractor": _TUNING,
        "similar_products": fingerprint_of({"index": built, "table": asdict(index.table())}),
    }
