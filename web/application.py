"""The application: one shop behind an HTTP API and pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

from fastapi import FastAPI
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped, import-not-found, unused-ignore]

from vetrina import __version__
from web.api import pictures, products, search, similar
from web.house import House
from web.lingering import Lingering
from web.photos import open_desk
from web.problems import handle_problems
from web.protection import SecurityHeaders
from web.room import Room
from web.shop import Options, Shop
from web.showing import Showcase
from web.turns import Turns

_UPLOADS = 16
"""How many photos of the largest size may come in or wait at the same time; of smaller ones, more."""


def build_app(shop: Shop, options: Options) -> FastAPI:
    """The application of a shop. What it needs is opened when it starts, and closed when it stops."""

    @asynccontextmanager
    async def open_house(app: FastAPI) -> AsyncIterator[None]:
        # A BLAS thread that has helped with a product spins for 30 ms after it, as long as a photo takes.
        with threadpool_limits(1), ExitStack() as stack:
            showcase = stack.enter_context(Showcase(shop.window, options.refresh_seconds))
            decoders = stack.enter_context(shop.decoders())
            looking = stack.enter_context(Turns(decoders.workers, options.most_waiting))
            room = Room(_UPLOADS * options.most_upload_bytes)
            app.state.house = House(
                shop,
                options,
                showcase,
                decoders,
                asking=stack.enter_context(Turns(2, options.most_waiting)),
                looking=looking,
                photos=stack.enter_context(open_desk(shop, options, decoders, looking, room)),
                room=room,
            )
            yield

    app = FastAPI(
        title="Vetrina",
        summary="Visually similar products",
        version=__version__,
        root_path=options.prefix,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
        lifespan=open_house,
    )
    handle_problems(app)
    app.add_middleware(Lingering)
    app.add_middleware(SecurityHeaders)
    for router in (similar.router, search.router, products.router, pictures.router):
        app.include_router(router, prefix="/api/v1")
    return app
