"""The shop window: "what looks like this?" by product or by photo, over everything that is searchable now.

Searchable are the products of the current index, those of batches that finished after it (searched exactly), less
those that were removed since.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from vetrina.catalog.batches import list_batches
from vetrina.catalog.shop import changes
from vetrina.detection.classes import descendants, known_class
from vetrina.detection.crops import WHOLE, Box, Crop, Selection, cut
from vetrina.detection.detector import Detector
from vetrina.embedding.extractor import Extractor, ExtractorIdentity
from vetrina.embedding.vectors import embeddings_fingerprint
from vetrina.errors import ModelError, NotFound
from vetrina.index.reader import Index
from vetrina.index.sources import IndexItems
from vetrina.index.versions import current, open_index
from vetrina.pictures.decoding import decode_picture
from vetrina.search.engine import Answer, Query, SearchEngine
from vetrina.store import Store, blob_path


@dataclass(frozen=True, slots=True)
class PhotoQuery:
    """A photo as the window sees it.

    Attributes:
        pixels: uint8 [height, width, 3] RGB.
        parts: box and detected crop of each query row; the whole photo is the first and has no crop.
        query: the vectors to search with.
    """

    pixels: np.ndarray
    parts: list[tuple[Box, Crop | None]]
    query: Query


class ShopWindow:
    """Answers over one state of the store; open a new one to see a later state.

    Args:
        detector, selection: what photos are seen with.
        extractor: the one of the settings. Photos are embedded by the one that the index was made with, which is
            another while the batches are worked again for a new one, and after a rollback.
        open_extractor: opens an extractor by its handle.

    Raises:
        NotFound: nothing is indexed yet.
        IndexDamaged: no published version verifies.
    """

    def __init__(
        self,
        store: Store,
        detector: Detector,
        selection: Selection,
        extractor: ExtractorIdentity,
        open_extractor: Callable[[str], Extractor],
    ) -> None:
        self.store = store
        self._detector = detector
        self._selection = selection
        self._extractor = extractor
        self._open_extractor = open_extractor
        self.problems: list[str] = []
        published = current(store, self.problems)
        if published is None:
            if self.problems:
                raise NotFound("No index version can be used: " + "; ".join(self.problems))
            raise NotFound(f"There is no index in {store.root} yet; add a catalog first: vetrina add CATALOG")
        self.index: Index = open_index(store, published)
        # What the index was made with, not what the settings say now: it goes on until it is built again.
        made_with = self.index.manifest.fingerprints.get("embeddings")
        items = IndexItems(store, made_with or embeddings_fingerprint(selection.fingerprint(detector), extractor))
        tail = list(items.newer_than(self.index.manifest.sources))
        shown = items.unchanged_since(self.index.manifest.sources).union(*(_product_ids(table) for table in tail))
        indexed = (self.index.rows.product_id(number) for number in range(self.index.rows.products))
        self.engine = SearchEngine(
            self.index, tail=tail, removed={product_id for product_id in indexed if product_id not in shown}
        )

    def similar(
        self, product_id: str, k: int, *, class_name: str | None = None, exact: bool = False
    ) -> tuple[Query, Answer]:
        """The k products most similar to a product, without itself. Raises NotFound, SettingError."""
        query = self.engine.product_query(product_id)
        classes = self.classes_within(class_name)
        return query, self.engine.search(query, k, exclude=[product_id], classes=classes, exact=exact)

    def photo(self, data: bytes) -> PhotoQuery:
        """See what is on a photo.

        Raises:
            PictureError: the bytes are no usable picture.
            NotFound: the extractor that the index was made with cannot be had, and no other's vectors can be compared.
        """
        extractor = self._extractor_of_index()
        pixels = decode_picture(data).pixels
        parts: list[tuple[Box, Crop | None]] = [(WHOLE, None)]
        parts += [(crop.box, crop) for crop in self._selection.select(self._detector.detect(pixels))]
        vectors = extractor.embed([cut(pixels, box) for box, _ in parts])
        kinds = tuple("whole" if crop is None else "crop" for _, crop in parts)
        return PhotoQuery(pixels, parts, Query(vectors, kinds))

    def _extractor_of_index(self) -> Extractor:
        manifest = self.index.manifest
        wanted = manifest.fingerprints.get("extractor")
        if wanted == self._extractor.fingerprint:
            return self._open_extractor(self._extractor.handle)
        why = "its manifest does not say which"
        if manifest.extractor:
            try:
                found = self._open_extractor(manifest.extractor)
            except ModelError as error:
                why = str(error)
            else:
                if found.fingerprint == wanted:
                    return found
                why = f"{manifest.extractor} is another model by now"
        raise NotFound(
            f"The current index was made with another extractor than {self._extractor.handle}, which cannot be had "
            f"({why}), so photos cannot be searched until the index is rebuilt: run the batches again with this one, "
            "or set VETRINA_EXTRACTOR back"
        )

    def search(self, photo: PhotoQuery, k: int, *, class_name: str | None = None, exact: bool = False) -> Answer:
        """The k products most similar to a photo. Raises SettingError."""
        return self.engine.search(photo.query, k, classes=self.classes_within(class_name), exact=exact)

    def classes_within(self, class_name: str | None) -> Collection[str] | None:
        """The class and all that the hierarchy puts in it; None for no filter. Raises SettingError if unknown."""
        if class_name is None:
            return None
        name = known_class(class_name, self._detector.vocabulary)
        return {name, *descendants(name)}

    def picture(self, sha256: str) -> np.ndarray:
        """A stored picture: uint8 [height, width, 3] RGB."""
        return decode_picture(self.store.read(blob_path(sha256))).pixels


def attributes_of(store: Store, product_ids: Collection[str]) -> dict[str, str]:
    """The attributes (JSON) that the newest catalog row of each product gave."""
    wanted = set(product_ids)
    found: dict[str, str] = {}
    for product_id, attributes in _newest_first(store):
        if product_id in wanted and product_id not in found:
            found[product_id] = attributes
            if len(found) == len(wanted):
                break
    return found


def _product_ids(table: pa.Table) -> list[str]:
    return [str(product_id) for product_id in table.column("product_id").to_pylist()]


def _newest_first(store: Store) -> Iterator[tuple[str, str]]:
    for batch in reversed(list_batches(store)):
        for row in changes(store, batch):
            if not row["removed"]:
                yield str(row["product_id"]), str(row["attributes"])
