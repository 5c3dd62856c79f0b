"""What is on each picture: crops, and the table of their labels."""

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any

import dagster as dg

from assets.batches import Made, each_batch
from assets.partitions import catalog_batch
from assets.previews import stored_jpegs, strip
from assets.progress import progress_of
from assets.raw_images import raw_images
from assets.steps import GPU_POOL, GPU_STEP
from resources.models import DetectorResource
from resources.pictures import DecoderResource
from resources.storage import StoreResource
from vetrina.catalog.batches import Batch
from vetrina.detection.labelling import crop_path, label_pictures, labels_path
from vetrina.models import fingerprint_of
from vetrina.tables import LABELS, read_metadata, read_rows


@dg.multi_asset(
    name="crops_and_labels",
    specs=[
        dg.AssetSpec(
            "crops",
            deps=[raw_images],
            kinds={"image", "tensorflow"},
            group_name="products",
            description="The detected products, cut out of the pictures.",
        ),
        dg.AssetSpec(
            "label_table",
            deps=[raw_images],
            kinds={"parquet"},
            group_name="products",
            description="Class, score and box of every crop; the whole picture is listed beside its crops.",
        ),
    ],
    partitions_def=catalog_batch,
    pool=GPU_POOL,
    op_tags=GPU_STEP,
)
def crops_and_labels(
    context: dg.AssetExecutionContext, store: StoreResource, detector: DetectorResource, decoder: DecoderResource
) -> Iterator[Any]:
    """Detect once for both."""
    kept = store.open()
    fingerprint = detector.labels_fingerprint()
    with decoder.open() as decoders:

        def work(batch: Batch) -> list[Made]:
            report = label_pictures(
                kept,
                batch,
                detector.open(),
                detector.selection(),
                decoders,
                workers=decoder.workers,
                progress=progress_of(context, "pictures"),
            )
            path = labels_path(batch, fingerprint)
            rows = [row for row in read_rows(kept, path, LABELS) if row["kind"] == "crop"]
            crops = {
                "crops": report.crops,
                "detected": report.detected,
                "reused": report.reused,
                "unreadable": report.unreadable,
                "detector": detector.handle,
                "undetectable_classes": dg.MetadataValue.json(list(detector.undetectable())),
                "samples": strip(islice(stored_jpegs(kept, (crop_path(row["crop_id"]) for row in rows)), 8)),
            }
            table = {
                "dagster/partition_row_count": report.crops + report.products - report.unreadable,
                "products": report.products,
                "with_crops": report.products - report.whole - report.unreadable,
                "whole": report.whole,
                "classes": dg.MetadataValue.json(dict(Counter(row["label"] for row in rows).most_common())),
                "fingerprint": fingerprint,
            }
            version = fingerprint_of({"labels": fingerprint, "notes": read_metadata(kept, path)})
            return [Made("crops", crops, version), Made("label_table", table, version)]

        yield from each_batch(context, kept, work)
