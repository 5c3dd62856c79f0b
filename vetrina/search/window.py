"""The shop window: "what looks like this?" by product or by photo, over everything that is searchable now.

Searchable are the products of the current index, those of batches that finished after it (searched exactly), less
those that were removed since.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pyarrow as pa

from vetrina.bounded_cache import BoundedCache
from vetrina.detection.classes import descendants, known_class
from vetrina.detection.crops import WHOLE, Box, Crop, Selection, cut
from vetrina.detection.detector import Detector
from vetrina.embedding.extractor import Extractor, ExtractorIdentity
from vetrina.embedding.vectors import embeddings_fingerprint
from vetrina.errors import ModelError, NotFound
from vetrina.index.familiarity import likeness
from vetrina.index.reader import Index
from vetrina.index.sources import IndexItems, index_sources
from vetrina.index.versions import current, open_index
from vetrina.pictures.decoding import decode_picture
from vetrina.pictures.prints import Prints, PrintsInMemory
from vetrina.search.answers import Answer, Query
from vetrina.search.attributes import Attributes, attributes_of, name_of, parse_attributes
from vetrina.search.conditions import ANY, Conditions
from vetrina.search.distinct import LeftOut, distinct_answer
from vetrina.search.engine import SearchEngine
from vetrina.search.filters import Filter
from vetrina.store import Store, blob_path
from vetrina.words import counted

_MOST_NARROWED = 64
"""Filters whose products are remembered, a byte for each product of the shop."""
PICTURES_AWAY = (
    "Some pictures cannot be read from the store now, so products that show the same picture may be among the results"
)
"""A line of an answer's problems. The answer may be another as soon as the store can be read again."""
_MOST_NAMED = 3
"""Unknown ids of products to leave out that are named; looking for ids like one takes milliseconds."""


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo to search with.

    Attributes:
        pixels: uint8 [height, width, 3] RGB.
        part: what of it counts: a box, a detected object by its number from 0, or (None) the whole photo and everything
            detected on it.
    """

    pixels: np.ndarray
    part: Box | int | None = None


@dataclass(frozen=True, slots=True)
class PhotoQuery:
    """A photo as the window sees it.

    Attributes:
        pixels: uint8 [height, width, 3] RGB.
        parts: box and detected crop of each query row. The whole photo is the first and has no crop, unless a part was
            chosen: then this is the only row, and it has a crop where it was detected.
        detected: everything that was detected on it and counts; empty where a box was chosen, for nothing looked.
        query: the vectors to search with.
    """

    pixels: np.ndarray
    parts: list[tuple[Box, Crop | None]]
    detected: list[Crop]
    query: Query


@dataclass(frozen=True, slots=True)
class Familiarity:
    """How like the goods of the shop a photo is, and how like they must be at least (`vetrina.index.familiarity`)."""

    likeness: float
    least: float

    @property
    def nothing_similar(self) -> bool:
        """Whether nothing in the shop is similar to the photo, however near the nearest are."""
        return self.likeness < self.least


@dataclass(frozen=True, slots=True)
class Found:
    """A query with its answer, and the near-duplicates that were left out of it.

    Attributes:
        familiarity: of a photo, judged by the whole shop whatever the conditions; None of a product of the shop, and
            where no floor is known.
        problems: what was asked for and makes no difference, a line each.
    """

    query: Query
    answer: Answer
    left_out: list[LeftOut]
    familiarity: Familiarity | None = None
    problems: list[str] = field(default_factory=list)


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
        self._published = published
        self.index: Index = open_index(store, published)
        # What the index was made with, not what the settings say now: it goes on until it is built again.
        made_with = self.index.manifest.fingerprints.get("embeddings")
        self._embeddings = made_with or embeddings_fingerprint(selection.fingerprint(detector), extractor)
        items = IndexItems(store, self._embeddings)
        self._sources = items.sources
        tail = list(items.newer_than(self.index.manifest.sources))
        shown = items.unchanged_since(self.index.manifest.sources).union(*(_product_ids(table) for table in tail))
        indexed = (self.index.rows.product_id(number) for number in range(self.index.rows.products))
        self.engine = SearchEngine(
            self.index, tail=tail, removed={product_id for product_id in indexed if product_id not in shown}
        )
        size = max(self.engine.products, 1)
        self._narrowed: BoundedCache[SearchEngine] = BoundedCache(_MOST_NARROWED * size, lambda _: size)
        self._prints = PrintsInMemory(store)

    def outdated(self) -> bool:
        """Whether a window opened now would show something else.

        Raises:
            NotFound: nothing could be shown now.
            StoreError: that cannot be told.
        """
        published = current(self.store)
        if published is None:
            raise NotFound(f"There is no index in {self.store.root} any more")
        if published.number != self._published.number:
            return True
        return index_sources(self.store, self._embeddings) != self._sources

    def similar(self, product_id: str, k: int, conditions: Conditions = ANY) -> Found:
        """The k products most similar to a product, without itself. Raises NotFound, SettingError."""
        query = self.engine.product_query(product_id)
        shown = sorted({item.sha256 for item in self.engine.items_of(product_id)})
        return self._find(query, k, conditions, exclude=[product_id], shown=shown)

    def photo(self, data: bytes) -> PhotoQuery:
        """See what is on a photo. Raises PictureError when the bytes are no usable picture; others as `photos`."""
        (seen,) = self.photos([Photo(decode_picture(data).pixels)])
        if isinstance(seen, NotFound):
            raise seen
        return seen

    def photos(self, photos: Sequence[Photo]) -> list[PhotoQuery | NotFound]:
        """See what is on some photos; all their parts pass the extractor together.

        Returns:
            In the order given; NotFound where nothing was detected that has the chosen number.

        Raises:
            NotFound: the extractor that the index was made with cannot be had, and no other's vectors can be compared.
        """
        extractor = self._extractor_of_index()
        parts = [self._parts(photo) for photo in photos]
        crops = [
            cut(photo.pixels, box)
            for photo, found in zip(photos, parts, strict=True)
            if not isinstance(found, NotFound)
            for box, _ in found[0]
        ]
        vectors = extractor.embed(crops) if crops else np.zeros((0, 0), np.float32)
        seen: list[PhotoQuery | NotFound] = []
        start = 0
        for photo, found in zip(photos, parts, strict=True):
            if isinstance(found, NotFound):
                seen.append(found)
                continue
            boxes, detected = found
            kinds = tuple("whole" if box == WHOLE else "crop" for box, _ in boxes)
            labels = frozenset(crop.label for _, crop in boxes if crop is not None)
            rows = vectors[start : start + len(boxes)]
            seen.append(PhotoQuery(photo.pixels, boxes, detected, Query(rows, kinds, labels=labels)))
            start += len(boxes)
        return seen

    def _parts(self, photo: Photo) -> tuple[list[tuple[Box, Crop | None]], list[Crop]] | NotFound:
        """What of a photo is searched with, and what was detected on it."""
        if isinstance(photo.part, Box):
            return [(photo.part, None)], []
        detected = self._selection.select(self._detector.detect(photo.pixels))
        if photo.part is None:
            return [(WHOLE, None), *((crop.box, crop) for crop in detected)], detected
        if photo.part >= len(detected):
            were = (
                f"{counted(len(detected), 'was', 'were')} detected, counted from 0" if detected else "none was detected"
            )
            return NotFound(f"There is no object {photo.part} on the photo: {were}")
        chosen = detected[photo.part]
        return [(chosen.box, chosen)], detected

    def open_models(self) -> None:
        """Open what photos are seen with, which the first of them would wait for. Raises NotFound, ModelError."""
        grey = np.full((64, 64, 3), 128, np.uint8)
        self.photos([Photo(grey)])

    @property
    def photos_at_once(self) -> int:
        """How many photos `photos` is fastest with in one call; 1: each thread brings its own. Raises NotFound."""
        return self._extractor_of_index().batch

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

    def search(self, photo: PhotoQuery, k: int, conditions: Conditions = ANY) -> Found:
        """The k products most similar to a photo; the one it shows may be among them. Raises NotFound, SettingError."""
        projected = self.engine.projected(photo.query)
        found = self._find(projected, k, conditions, exclude=[], shown=[])
        familiarity = self._familiarity(photo.query, projected, conditions.min_similarity)
        problems = found.problems
        if familiarity is None and conditions.min_similarity is not None:
            problems = [*problems, self._no_floor(conditions.min_similarity)]
        return replace(found, query=photo.query, familiarity=familiarity, problems=problems)

    def _no_floor(self, least: float) -> str:
        """That a likeness to be reached cannot be judged by, in words."""
        nth = self.index.manifest.nothing_similar.get("nth")
        if nth is None:
            why = "the index does not say how likeness is judged; build it again"
        else:
            products = counted(self.engine.products, "product", "products")
            why = f"a photo is judged by its {nth}th nearest product, and the shop has {products}"
        return f"A least similarity of {least:g} makes no difference: {why}"

    def _familiarity(self, query: Query, projected: Query, least: float | None) -> Familiarity | None:
        """Of the photo as a whole or of the thing on it that is most like the shop's goods."""
        stated = self.index.manifest.nothing_similar
        least = stated.get("floor") if least is None else least
        if least is None or "nth" not in stated:
            return None
        nth = stated["nth"]
        best = -1.0
        for row, kind in enumerate(query.kinds):
            alone = replace(projected, vectors=projected.vectors[row : row + 1], kinds=(kind,), labels=frozenset())
            near = self.engine.search(alone, nth).neighbours
            if len(near) < nth:
                return None
            score = np.array([near[-1].score])
            own = query.vectors[row : row + 1]
            best = max(best, float(likeness(own, score, self.index.projection, stated["length"])[0]))
        return Familiarity(best, least)

    def _find(
        self, query: Query, k: int, conditions: Conditions, *, exclude: Sequence[str], shown: Sequence[str]
    ) -> Found:
        engine, classes = self.passing(conditions.where), self.classes_within(conditions.class_name)
        unwanted = conditions.exclude.union(exclude)
        problems = self._unknown(conditions.exclude)

        def search(count: int) -> Answer:
            return engine.search(query, count, exclude=unwanted, classes=classes, exact=conditions.exact)

        if not conditions.distinct:
            return Found(query, search(k), [], problems=problems)
        away = False

        def prints_of(pictures: Sequence[str]) -> Prints:
            nonlocal away
            prints, whole = self._prints(pictures)
            away = away or not whole
            return prints

        answer, left_out = distinct_answer(prints_of, search, k, shown)
        return Found(query, answer, left_out, problems=[*problems, PICTURES_AWAY] if away else problems)

    def _unknown(self, exclude: Collection[str]) -> list[str]:
        """A line for each of the first ids to leave out that the shop does not have, and one for the others."""
        absent = self.engine.absent(exclude)
        lines = [f"Nothing to leave out: {self.engine.absence(name)}" for name in absent[:_MOST_NAMED]]
        if len(absent) > _MOST_NAMED:
            lines.append(f"Nothing to leave out for {counted(len(absent) - _MOST_NAMED, 'id', 'ids')} more")
        return lines

    @cached_property
    def attributes(self) -> Attributes:
        """What the catalogs say of each product that can be found."""
        return parse_attributes(attributes_of(self.store, self.engine.product_ids))

    def name_of(self, product_id: str) -> str | None:
        """What the catalog calls a product that can be found."""
        return self._names.get(product_id)

    @cached_property
    def _names(self) -> dict[str, str]:
        named = ((product_id, name_of(own)) for product_id, own in self.attributes.items())
        return {product_id: name for product_id, name in named if name}

    def passing(self, where: Filter | None) -> SearchEngine:
        """The search over the products that pass a filter; None lets all pass. Raises NotFound: unknown attribute."""
        if where is None:
            return self.engine
        narrowed = self._narrowed.get(where.text)
        if narrowed is None:
            where.check(dict.fromkeys(name for product in self.attributes.values() for name in product))
            passing = [product_id for product_id, product in self.attributes.items() if where.passes(product)]
            narrowed = self.engine.only(passing)
            self._narrowed.put(where.text, narrowed)
        return narrowed

    def classes_within(self, class_name: str | None) -> Collection[str] | None:
        """The class and all that the hierarchy puts in it; None for no filter. Raises SettingError if unknown."""
        if class_name is None:
            return None
        name = known_class(class_name, self._detector.vocabulary)
        return {name, *descendants(name)}

    def picture(self, sha256: str) -> np.ndarray:
        """A stored picture: uint8 [height, width, 3] RGB."""
        return decode_picture(self.store.read(blob_path(sha256))).pixels


def _product_ids(table: pa.Table) -> list[str]:
    return [str(product_id) for product_id in table.column("product_id").to_pylist()]
