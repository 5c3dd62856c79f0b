"""All resources, as the settings say."""

from resources.index import IndexResource
from resources.models import DetectorResource, ExtractorResource
from resources.pictures import DecoderResource, FetcherResource
from resources.storage import StoreResource
from vetrina.settings import Settings


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


def resources_of(settings: Settings) -> dict[str, object]:
    """Every resource by the name that assets ask for."""
    return {
        "store": StoreResource(root=settings.store),
        "fetcher": FetcherResource(
            concurrency=settings.fetch_concurrency,
            per_host=settings.fetch_per_host,
            attempts=settings.fetch_attempts,
            deadline=settings.fetch_deadline,
            max_bytes=settings.max_picture_bytes,
            allow_private=settings.allow_private,
        ),
        "decoder": DecoderResource(
            workers=settings.worker_count, max_pixels=settings.max_pixels, min_side=settings.min_side
        ),
        "detector": detector_of(settings),
        "extractor": extractor_of(settings),
        "index": IndexResource(
            projection_dims=settings.projection_dims,
            trees=settings.trees,
            search_k=settings.search_k,
            recall_target=settings.recall_target,
            neighbours=settings.neighbours,
            same_class=settings.same_class,
            device=settings.index_device,
        ),
    }
