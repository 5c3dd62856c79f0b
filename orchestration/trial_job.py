"""The job that embeds the shop with an extractor on trial: for `vetrina compare`, and for a switch before it happens.

It is no asset: what it makes is not what the shop shows, and must not make the shop's own embeddings look stale.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import dagster as dg

from assets.failures import told_to_people
from assets.progress import progress_of
from assets.steps import GPU_POOL, GPU_STEP
from resources.models import DetectorResource, ExtractorResource
from resources.pictures import DecoderResource
from resources.storage import StoreResource
from vetrina.embedding.trials import embed_shop

TRIAL_JOB = "trial"
TRIAL_OP = "trial_embeddings"


def trial_config(extractor: str) -> dict[str, Any]:
    """Run configuration of the job for an extractor."""
    return {"ops": {TRIAL_OP: {"config": {"extractor": extractor}}}}


def trial_job(tags: Mapping[str, str]) -> dg.JobDefinition:
    """The job. One run works all batches, those that arrive meanwhile as well; what is embedded already is reused."""

    @dg.op(
        name=TRIAL_OP,
        config_schema={"extractor": dg.Field(str, description="The extractor's handle.")},
        out=dg.Out(dg.Nothing),
        pool=GPU_POOL,
        tags=GPU_STEP,
        description="Embeds every batch with an extractor on trial; the index and what is served are not touched.",
    )
    def embed(
        context: dg.OpExecutionContext, store: StoreResource, detector: DetectorResource, decoder: DecoderResource
    ) -> None:
        kept = store.open()
        labels = detector.labels_fingerprint()
        with told_to_people(), decoder.open() as decoders:
            extractor = ExtractorResource(handle=context.op_config["extractor"])
            report = embed_shop(
                kept,
                labels,
                extractor.open(kept),
                decoders,
                workers=decoder.workers,
                progress=progress_of(context, "crops"),
            )
        for key, why in report.failed.items():
            context.log.error(f"Batch {key} could not be embedded: {why}")
        said = asdict(report) | {"failed": dg.MetadataValue.json(report.failed)}
        context.add_output_metadata({**said, "extractor": extractor.handle})

    @dg.job(
        name=TRIAL_JOB,
        tags=dict(tags),
        description="The shop's crops embedded by another extractor, beside those that are served.",
    )
    def job() -> None:
        embed()

    return job
