"""How good the answers of the current index are, measured by the shop's own labels."""

import json
from functools import cache, partial
from typing import Any

import dagster as dg
from pydantic import Field

from assets.failures import told_to_people
from assets.previews import PREVIEW_BYTES, inline_png
from assets.progress import progress_of
from assets.similarity_index import similarity_index
from assets.steps import CPU_STEP
from resources.evaluation import EvaluationResource
from resources.models import DetectorResource, ExtractorResource, shop_window
from resources.pictures import DecoderResource
from resources.storage import StoreResource
from vetrina.evaluation.charts import classes_png, sweep_png
from vetrina.evaluation.evaluation import Plan
from vetrina.evaluation.report import html_report
from vetrina.evaluation.shop import Choice, assess
from vetrina.evaluation.sweep_chart import measures_of
from vetrina.finetuning.document import Table, as_markdown, plain
from vetrina.models import fingerprint_of

_MOST_CLASSES = 50


class EvaluationConfig(dg.Config):
    """What is measured."""

    label: str = Field(default="", description="What makes products alike: an attribute, or: detected; empty: as set.")
    k: int = Field(default=10, description="How many results count.")
    sample: int = Field(default=2000, description="Ask at most so many queries, drawn at random.")
    sweep: bool = Field(default=True, description="Also measure how many dimensions (PCA) it takes.")


@dg.asset(
    deps=[similarity_index],
    group_name="search",
    kinds={"html"},
    op_tags=CPU_STEP,
    description="Quality of the served answers by a label, with intervals, and a report that opens offline.",
)
def evaluation(
    context: dg.AssetExecutionContext,
    config: EvaluationConfig,
    store: StoreResource,
    detector: DetectorResource,
    extractor: ExtractorResource,
    decoder: DecoderResource,
    evaluation: EvaluationResource,
) -> dg.MaterializeResult:
    """Let products ask for one another, and keep what comes of it beside the index version it was measured on."""
    kept = store.open()
    reporter = cache(partial(progress_of, context))
    with told_to_people():
        plan = Plan(config.label or evaluation.default_label, k=config.k, sample=config.sample)
        window = shop_window(kept, detector, extractor)
        found = assess(
            window,
            plan,
            Choice(sweep=config.sweep),
            workers=decoder.workers,
            step=lambda what, done, total: reporter(what)(done, total),
        )
        page = html_report(found.evaluation, found.values, found.products, found.names, window.picture)
    version = window.index.version
    name = fingerprint_of({"index": version, "settings": found.values["settings"], "by": plan.label, "k": plan.k})
    path = f"reports/{version}/evaluation-{name}"
    kept.write(f"{path}.html", page.encode("utf-8", "replace"))
    kept.write(f"{path}.json", json.dumps(found.values, ensure_ascii=True, indent=1).encode())
    return dg.MaterializeResult(data_version=dg.DataVersion(name), metadata=_metadata(found.values, path))


def _metadata(values: dict[str, Any], path: str) -> dict[str, Any]:
    measures = list(values["macro"])
    rows = [[name, _estimate(values[name]), _estimate(values["macro"][name])] for name in measures]
    classes = [
        [
            plain(entry["class"]),
            str(entry["products"]),
            str(entry["queries"]),
            *(f"{entry[name]:.3f}" if name in entry else "" for name in measures),
        ]
        for entry in values["classes"][:_MOST_CLASSES]
    ]
    charts = {"classes_chart": classes_png(values["classes"], measures[0])}
    if values["sweep"] is not None:
        charts["dimensions_chart"] = sweep_png(values["sweep"], measures_of(values["sweep"]))
    return {
        "label": values["label"],
        "index_version": values["index"]["version"],
        "queries": values["counts"]["queries"],
        **{name: values[name]["value"] for name in measures},
        "measures": dg.MetadataValue.md(as_markdown([Table(("measure", "over queries", "over classes"), rows)])),
        "classes": dg.MetadataValue.md(as_markdown([Table(("class", "products", "queries", *measures), classes)])),
        "latency_ms": dg.MetadataValue.json(values["latency_ms"]),
        "visited": dg.MetadataValue.json(values["visited"]),
        **{name: inline_png(name, png) for name, png in charts.items() if len(png) <= PREVIEW_BYTES},
        "report": f"{path}.html",
        "values": f"{path}.json",
    }


def _estimate(entry: dict[str, float]) -> str:
    return f"{entry['value']:.3f} ({entry['low']:.3f} to {entry['high']:.3f})"
