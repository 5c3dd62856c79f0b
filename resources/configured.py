"""All resources, as the settings say."""

from resources.evaluation import EvaluationResource
from resources.index import IndexResource
from resources.models import DetectorResource, ExtractorResource
from resources.pictures import DecoderResource, FetcherResource
from resources.quality import QualityResource
from resources.storage import StoreResource
from vetrina.catalog.columns import split_names
from vetrina.catalog.source_files import ReadOptions
from vetrina.catalog.syncing import SyncOrder
from vetrina.settings import Settings
from vetrina.web_files import DownloadLimits


def detector_of(settings: Settings) -> DetectorResource:
    """The detector and its selection."""
    return DetectorResource(
        handle=settings.detector,
        classes=settings.classes,
        min_score=settings.min_score,
        max_boxes=settings.max_boxes,
        min_box=settings.min_box,
    )


def extractor_of(settings: Settings) -> ExtractorResource:
    """The extractor."""
    return ExtractorResource(handle=settings.extractor)


def fetcher_of(settings: Settings) -> FetcherResource:
    """How pictures are fetched."""
    return FetcherResource(
        concurrency=settings.fetch_concurrency,
        per_host=settings.fetch_per_host,
        attempts=settings.fetch_attempts,
        deadline=settings.fetch_deadline,
        max_bytes=settings.max_picture_bytes,
        allow_private=settings.allow_private,
    )


def decoder_of(settings: Settings) -> DecoderResource:
    """How pictures are decoded."""
    return DecoderResource(workers=settings.worker_count, max_pixels=settings.max_pixels, min_side=settings.min_side)


def index_of(settings: Settings) -> IndexResource:
    """How the index and its table are made."""
    return IndexResource(
        projection_dims=settings.projection_dims,
        trees=settings.trees,
        search_k=settings.search_k,
        recall_target=settings.recall_target,
        query_ms=settings.query_ms,
        serve_with=settings.serve_with,
        neighbours=settings.neighbours,
        same_class=settings.same_class,
        hide_duplicates=settings.hide_duplicates,
        table_by=settings.table,
        device=settings.index_device,
    )


def evaluation_of(settings: Settings) -> EvaluationResource:
    """What the shop is evaluated by."""
    return EvaluationResource(label=settings.evaluation_label)


def resources_of(settings: Settings) -> dict[str, object]:
    """Every resource by the name that assets ask for."""
    return {
        "store": StoreResource(root=settings.store, cache=settings.cache, cache_gib=settings.cache_gib),
        "fetcher": fetcher_of(settings),
        "decoder": decoder_of(settings),
        "detector": detector_of(settings),
        "extractor": extractor_of(settings),
        "index": index_of(settings),
        "evaluation": evaluation_of(settings),
        "quality": QualityResource(least_coverage=settings.coverage_warning, most_drift=settings.drift_warning),
    }


def read_options_of(settings: Settings) -> ReadOptions:
    """How catalogs are read."""
    return ReadOptions(
        id_columns=split_names(settings.id_columns),
        picture_columns=split_names(settings.picture_columns),
        allow_outside=settings.allow_outside,
    )


def sync_order_of(settings: Settings) -> SyncOrder:
    """What is synced on schedule; its source is empty when nothing is."""
    return SyncOrder(
        source=settings.sync_source,
        options=read_options_of(settings),
        name=settings.sync_name,
        max_removed=settings.max_removed,
        limits=DownloadLimits(
            deadline=settings.sync_deadline,
            max_bytes=settings.sync_max_bytes,
            attempts=settings.fetch_attempts,
            allow_private=settings.allow_private,
        ),
    )
