"""Models made here: what an extractor is taught with, and the extractor that comes of it."""

from typing import Any

import dagster as dg
from pydantic import Field

from assets.failures import told_to_people
from assets.previews import PREVIEW_BYTES, inline_png
from assets.progress import progress_of, reporter_of
from assets.steps import CPU_STEP, GPU_POOL, GPU_STEP
from resources.models import DetectorResource, ExtractorResource, shop_window
from resources.pictures import DecoderResource
from resources.storage import StoreResource
from vetrina.embedding.extractor import DEFAULT_EXTRACTOR
from vetrina.embedding.tuned import CARD_FILE, TunedModel, tuned_folder
from vetrina.finetuning.card import class_table, retrieval_table
from vetrina.finetuning.document import Table, as_markdown
from vetrina.finetuning.finetuning import finetune
from vetrina.finetuning.folder import charts_of
from vetrina.finetuning.plan import Plan
from vetrina.finetuning.training_set import Request, choose, read_training_set, write_training_set

_DEFAULT = Plan(base=DEFAULT_EXTRACTOR, label="")


class TrainingSetConfig(dg.Config):
    """What is to be learnt."""

    label: str = Field(description="The catalog attribute that is learnt, or: detected.")
    split: str = Field(default="", description="ATTRIBUTE=VALUE of the products held out for the report; empty: some.")

    def request(self) -> Request:
        """As the domain knows it."""
        return Request(self.label, self.split)


class TunedExtractorConfig(TrainingSetConfig):
    """What is to be learnt, and how: the fields of `vetrina.finetuning.plan.Plan`."""

    base: str = Field(default=_DEFAULT.base, description="Handle of the extractor to start from.")
    epochs: int = Field(default=_DEFAULT.epochs, description="Passes over the training part, at most.")
    batch: int = Field(default=_DEFAULT.batch, description="Pictures in one step.")
    learning_rate: float = Field(default=_DEFAULT.learning_rate, description="Of the head, at its highest.")
    trunk_rate: float = Field(default=_DEFAULT.trunk_rate, description="Share of it for the unfrozen blocks.")
    patience: int = Field(default=_DEFAULT.patience, description="Epochs without a better loss before it stops.")
    unfrozen: int = Field(default=_DEFAULT.unfrozen, description="Last blocks that are trained; 0: the head alone.")
    contrastive: float = Field(default=_DEFAULT.contrastive, description="Weight of the contrastive loss; 0: none.")
    projection: int = Field(default=_DEFAULT.projection, description="Numbers that the contrastive loss shapes.")
    temperature: float = Field(default=_DEFAULT.temperature, description="Of the contrastive loss.")
    dropout: float = Field(default=_DEFAULT.dropout, description="Share of the numbers left out in a step.")
    smoothing: float = Field(default=_DEFAULT.smoothing, description="Share of a label spread over all classes.")
    augment: bool = Field(default=_DEFAULT.augment, description="Learn from turned, shifted, scaled copies too.")
    amounts: str = Field(default=_DEFAULT.amounts, description="How far copies differ: gentle or source.")
    variants: int = Field(default=_DEFAULT.variants, description="Such copies of each picture.")
    seed: int = Field(default=_DEFAULT.seed, description="Of everything drawn at random.")
    validation_share: float = Field(default=_DEFAULT.validation_share, description="Of the products, for stopping.")
    test_share: float = Field(default=_DEFAULT.test_share, description="Held out for the report; without a split.")
    min_per_class: int = Field(default=_DEFAULT.min_per_class, description="Classes with fewer products are left out.")

    def plan(self) -> Plan:
        """As the domain knows it. Raises SettingError."""
        return Plan(**{name: value for name, value in self.model_dump().items() if name != "split"})


@dg.asset(
    deps=["similarity_index"],
    group_name="models",
    kinds={"parquet"},
    op_tags=CPU_STEP,
    description="Which products of the shop teach an extractor, under which labels, and which are held out.",
)
def training_set(
    context: dg.AssetExecutionContext,
    config: TrainingSetConfig,
    store: StoreResource,
    detector: DetectorResource,
    extractor: ExtractorResource,
    decoder: DecoderResource,
) -> dg.MaterializeResult:
    """Choose among the products that can be searched."""
    kept = store.open()
    with told_to_people():
        window = shop_window(kept, detector, extractor)
        progress = progress_of(context, "prints")
        chosen = choose(window, config.request(), workers=decoder.workers, progress=progress)
        write_training_set(kept, chosen)
    groups, products = chosen.duplicates()
    rows = [
        [name, *(str(parts.get(part, 0)) for part in ("learn", "held out"))] for name, parts in chosen.classes().items()
    ]
    return dg.MaterializeResult(
        data_version=dg.DataVersion(chosen.digest[:16]),
        metadata={
            "dagster/row_count": len(chosen.members),
            "label": config.label,
            "split": config.split,
            "products": dg.MetadataValue.json(chosen.counts()),
            "classes": _markdown(Table(("class", "learnt from", "held out"), rows)),
            "near_duplicate_groups": groups,
            "near_duplicates": products,
            "index": chosen.index,
            "path": chosen.request.path,
        },
    )


@dg.asset(
    deps=["training_set"],
    group_name="models",
    kinds={"tensorflow"},
    pool=GPU_POOL,
    op_tags=GPU_STEP,
    description="An extractor taught with the training set of the same label and split: folder, card and handle.",
)
def tuned_extractor(
    context: dg.AssetExecutionContext, config: TunedExtractorConfig, store: StoreResource, decoder: DecoderResource
) -> dg.MaterializeResult:
    """Train, measure and publish; or find that just this was done before."""
    kept = store.open()
    with told_to_people(), decoder.open() as decoders:
        done = finetune(
            kept,
            config.plan(),
            read_training_set(kept, config.request()),
            decoders,
            workers=decoder.workers,
            report=reporter_of(context),
        )
    return dg.MaterializeResult(
        data_version=dg.DataVersion(done.model.fingerprint), metadata=_metadata(done.model, trained=done.trained)
    )


def _metadata(model: TunedModel, *, trained: bool) -> dict[str, Any]:
    outcome = model.summary["outcome"]
    accuracy, retrieval = outcome["classification"]["accuracy"], outcome["retrieval"]
    found: dict[str, Any] = {
        "handle": model.handle,
        "fingerprint": model.fingerprint,
        "trained": trained,
        "accuracy": accuracy["value"],
        "accuracy_low": accuracy["low"],
        "accuracy_high": accuracy["high"],
        "measured_on": outcome["part"],
        "classes": _markdown(class_table(outcome["classification"])),
        "dims": model.dims,
        "base": model.base["handle"],
        "best_epoch": model.summary["best_epoch"],
        "plan": dg.MetadataValue.json(model.plan),
        "outcome": dg.MetadataValue.json({name: value for name, value in outcome.items() if name != "classification"}),
        "path": tuned_folder(model.fingerprint),
        "card": f"{tuned_folder(model.fingerprint)}/{CARD_FILE}",
    }
    if retrieval is not None:
        found["retrieval"] = _markdown(retrieval_table(retrieval))
    for file, png in charts_of(model.summary).items():
        if len(png) <= PREVIEW_BYTES:
            name = file.removesuffix(".png")
            found[name] = inline_png(name, png)
    return found


def _markdown(table: Table) -> dg.MarkdownMetadataValue:
    return dg.MetadataValue.md(as_markdown([table]))
