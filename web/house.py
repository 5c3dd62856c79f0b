"""What the requests of one application share, and the parameters that several of them take."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import Depends, Query, Request

from vetrina.pictures.decoders import DecoderPool
from vetrina.search.conditions import Conditions
from web.operations.doorkeeper import Doorkeeper
from web.operations.operations import Operations
from web.photos.desk import PhotoDesk
from web.photos.room import Room
from web.photos.uploads import Upload, uploaded
from web.server.metrics import Metrics
from web.shop import Options, Shop
from web.shown.showing import Showcase
from web.shown.thumbnails import Thumbnails
from web.turns import Turns

_SHORT = 200
"""Characters of a filter that is understood in no time; longer ones take a turn."""


@dataclass(frozen=True, slots=True)
class House:
    """What requests share.

    Attributes:
        asking: turns for questions to the index, which take a millisecond.
        filtering: turns for questions to all products, which may take seconds in a large shop.
        explaining: turns for explanations, which rank all products and read catalogs.
        looking: turns for work on pictures.
        photos: where photos are seen.
        room: for the bytes that strangers send.
        operations: what goes on in the shop.
        doorkeeper: who may change something.
    """

    shop: Shop
    options: Options
    showcase: Showcase
    decoders: DecoderPool
    asking: Turns
    filtering: Turns
    explaining: Turns
    looking: Turns
    thumbnails: Thumbnails
    photos: PhotoDesk
    room: Room
    operations: Operations
    doorkeeper: Doorkeeper
    metrics: Metrics

    def turns(self, filters: bool) -> Turns:
        """Where a question waits for its turn, so that none to the index waits for one that filters all products."""
        return self.filtering if filters else self.asking

    async def upload(self, request: Request) -> Upload:
        """What a request's body says to search with. Raises Problem."""
        return await uploaded(request, self.options.most_upload_bytes, self.room, self.options.patience)


async def house_of(request: Request) -> House:
    """What this request's application shares."""
    house: House = request.app.state.house
    return house


TheHouse = Annotated[House, Depends(house_of)]


@dataclass(frozen=True, slots=True)
class Wanted:
    """How many results are wanted, and what they must meet."""

    k: int
    conditions: Conditions


ClassName = Annotated[
    str | None, Query(alias="class", max_length=200, description="Only this Open Images class, or one within it.")
]
Where = Annotated[
    str | None,
    Query(max_length=10_000, description="Filter on catalog attributes: `category = Chairs and price < 100`."),
]


async def wanted(
    house: TheHouse,
    k: Annotated[int, Query(ge=1, le=1000, description="How many products.")] = 10,
    class_name: ClassName = None,
    where: Where = None,
    duplicates: Annotated[bool | None, Query(description="Also products that show the same picture again.")] = None,
    exact: Annotated[bool, Query(description="Compare with everything; `missed` says what the index lacks.")] = False,
    exclude: Annotated[
        list[str] | None, Query(max_length=1000, description="Ids of products that are not wanted.")
    ] = None,
) -> Wanted:
    """The parameters that every search takes. Raises SettingError."""
    asked = (class_name or None, where or None, duplicates, exact, None, exclude or ())
    if where and len(where) > _SHORT:
        return Wanted(k, await house.asking.run(house.shop.usual.conditions, *asked))
    return Wanted(k, house.shop.usual.conditions(*asked))


TheWanted = Annotated[Wanted, Depends(wanted)]


async def wanted_of_photo(
    wanted: TheWanted,
    min_similarity: Annotated[
        float | None, Query(ge=0, le=1, description="Likeness below which nothing is similar to the photo.")
    ] = None,
) -> Wanted:
    """The parameters that a search by photo takes. Raises SettingError."""
    if min_similarity is None:
        return wanted
    return Wanted(wanted.k, replace(wanted.conditions, min_similarity=min_similarity))


WantedOfPhoto = Annotated[Wanted, Depends(wanted_of_photo)]
ProductId = Annotated[str, Query(alias="id", min_length=1, max_length=1000, description="A product's id.")]
