"""Photos to search with: had from a request, an address or the shop, decoded, and seen by the models.

The bytes of a stranger's photo are in this process's memory and a decoder's, for the length of a request, and nowhere
else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from vetrina.detection.crops import Box
from vetrina.errors import NotFound
from vetrina.pictures.decoders import DecoderPool
from vetrina.pictures.fetching import Fetcher, FetchFailed, FetchOutcome, Unchanged
from vetrina.search.window import Photo, PhotoQuery, ShopWindow
from vetrina.store import Store, blob_path
from web.photos.room import Room
from web.photos.together import Together
from web.photos.uploads import Upload
from web.problems import Problem
from web.shop import Options, Shop
from web.shown.showing import Showing
from web.turns import Turns, busy

_FETCHES = 8
"""Addresses that are asked at the same time: each may take its whole deadline."""
_MOST_DECODED = 32
"""Photos that are pixels at the same time, up to 5 MB each; others wait as bytes."""
_HIDDEN = frozenset({"private-address", "dns"})
"""Reasons that are told as one: a stranger must not learn which names there are inside the network."""


class PhotoDesk:
    """Where the requests' photos are seen.

    Args:
        store: of the shop's own pictures.
        decoders: for all photos.
        decoding: turns for reading and decoding.
        fetcher: for addresses that strangers name; None: they may name none.
        fetching: turns for it.
        seeing: what the models do.
        room: for the bytes of photos that wait.
        most: photos that wait or are seen at the same time.
    """

    def __init__(
        self,
        store: Store,
        decoders: DecoderPool,
        decoding: Turns,
        fetcher: Fetcher | None,
        fetching: Turns,
        seeing: Together[ShopWindow, Photo, PhotoQuery],
        room: Room,
        most: int,
    ) -> None:
        self._store = store
        self._decoders = decoders
        self._decoding = decoding
        self._fetcher = fetcher
        self._fetching = fetching
        self._seeing = seeing
        self._room = room
        self._most = most
        self._here = 0
        self._as_pixels = asyncio.Semaphore(_MOST_DECODED)

    async def photo(self, showing: Showing, upload: Upload, part: Box | int | None) -> PhotoQuery:
        """What a request searches with, as the window sees it. Raises as `see`, `fetched` and `picture_of`."""
        if upload.url is not None:
            data = await self.fetched(upload.url)
        elif upload.product_id is not None:
            data = await self.picture_of(showing, upload.product_id)
        else:
            data = upload.data or b""
        return await self.see(showing, data, part)

    async def see(self, showing: Showing, data: bytes, part: Box | int | None) -> PhotoQuery:
        """What is on a photo, of which a part may be chosen.

        Raises:
            PictureError: the bytes are no usable picture.
            NotFound: no such object was detected; or the index's extractor cannot be had.
            Problem: 503 when too many photos wait.
        """
        if self._here >= self._most:
            raise busy()
        self._here += 1
        try:
            with self._room.claim() as claim:
                claim.take(len(data))
                async with self._as_pixels:
                    picture = await self._decoding.run(self._decoders.decode, data)
                    return await self._seeing.run(showing.window, Photo(picture.pixels, part))
        finally:
            self._here -= 1

    async def picture_of(self, showing: Showing, product_id: str) -> bytes:
        """The bytes of a product's picture. Raises NotFound, StoreError."""
        sha256 = showing.window.engine.items_of(product_id)[0].sha256
        try:
            return await self._decoding.run(self._store.read, blob_path(sha256))
        except FileNotFoundError as error:
            raise NotFound(f"The picture of {product_id!r} is not in the store any more") from error

    async def fetched(self, url: str) -> bytes:
        """The bytes at an address that a stranger names. Raises Problem."""
        if self._fetcher is None:
            raise _not_had("no-fetching", "This server fetches no photos: send the photo itself")
        if url.partition(":")[0].lower() not in ("http", "https"):
            raise Problem(
                400, "bad-request", "The request cannot be understood", "url must begin with http:// or https://"
            )
        outcome: FetchOutcome = await self._fetching.run(self._fetcher.fetch, url)
        if isinstance(outcome, FetchFailed):
            if outcome.reason in _HIDDEN:
                raise _not_had("no-public-address", "The address leads to no public server")
            raise _not_had(outcome.reason, outcome.detail)
        assert not isinstance(outcome, Unchanged)  # nothing was known of it before
        return outcome.data


@contextmanager
def open_desk(shop: Shop, options: Options, decoders: DecoderPool, decoding: Turns, room: Room) -> Iterator[PhotoDesk]:
    """A desk, until the block ends. Photos are seen in a thread for each decoder."""
    with (
        Turns(_FETCHES, options.most_waiting) as fetching,
        shop.fetcher() if options.fetch else nullcontext() as fetcher,  # closed first: nothing waits for an address
        Together(_see, _at_once, decoders.workers, options.most_waiting) as seeing,
    ):
        most = options.most_waiting + decoders.workers
        yield PhotoDesk(shop.store, decoders, decoding, fetcher, fetching, seeing, room, most)


def _not_had(reason: str, detail: str) -> Problem:
    return Problem(422, "photo-address", "The photo cannot be had", detail, more={"reason": reason})


def _see(window: ShopWindow, photos: list[Photo]) -> list[PhotoQuery | NotFound]:
    return window.photos(photos)


def _at_once(window: ShopWindow) -> int:
    return window.photos_at_once
