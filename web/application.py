"""The application: one shop behind an HTTP API and pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

from fastapi import Depends, FastAPI
from fastapi.routing import iter_route_contexts
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped, import-not-found, unused-ignore]

from vetrina import __version__
from web.api import health, operations, pictures, products, search, similar
from web.api.document import ANY_PROBLEM, describe
from web.house import House
from web.operations.doorkeeper import Doorkeeper
from web.operations.operations import Operations
from web.pages import files, reference
from web.pages import operations as operations_page
from web.pages import photo as photo_page
from web.pages import product as product_page
from web.pages import shop as shop_page
from web.pages import why as why_page
from web.pages.drawing import problem_page
from web.parameters import parameters_of, refuse_unknown
from web.photos.desk import open_desk
from web.photos.room import Room
from web.problems import handle_problems
from web.server.lingering import Lingering
from web.server.metrics import Metrics
from web.server.prefix import Prefix, checked_prefix
from web.server.protection import Heads, LastResort, SecurityHeaders
from web.server.watching import Watch
from web.shop import Options, Shop
from web.shown.showing import Showcase
from web.shown.thumbnails import Thumbnails
from web.turns import Turns

_UPLOADS = 16
"""How many photos of the largest size may come in or wait at the same time; of smaller ones, more. A picture of the
shop's own waits in the same room, so the largest has to fit."""


def build_app(shop: Shop, options: Options) -> FastAPI:
    """The application of a shop. What it needs is opened when it starts, and closed when it stops.

    Raises:
        SettingError: the prefix cannot be used.
    """
    metrics = Metrics()

    @asynccontextmanager
    async def open_house(app: FastAPI) -> AsyncIterator[None]:
        # A BLAS thread that has helped with a product spins for 30 ms after it, as long as a photo takes.
        with threadpool_limits(1), ExitStack() as stack:
            showcase = stack.enter_context(Showcase(shop.window, options.refresh_seconds))
            metrics.watch(showcase)
            decoders = stack.enter_context(shop.decoders())
            looking = stack.enter_context(Turns(decoders.workers, options.most_waiting))
            room = Room(max(_UPLOADS * options.most_upload_bytes, options.most_picture_bytes))
            app.state.house = House(
                shop,
                options,
                showcase,
                decoders,
                asking=stack.enter_context(Turns(2, options.most_waiting)),
                filtering=stack.enter_context(Turns(2, options.most_waiting)),
                explaining=stack.enter_context(Turns(2, options.most_waiting)),
                thumbnails=Thumbnails(shop.store, decoders),
                looking=looking,
                photos=stack.enter_context(open_desk(shop, options, decoders, looking, room)),
                room=room,
                operations=stack.enter_context(Operations(shop, showcase, options)),
                doorkeeper=Doorkeeper(options.token),
                metrics=metrics,
            )
            yield

    app = FastAPI(
        title="Vetrina",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
        redirect_slashes=False,  # it would name the host that the caller names
        generate_unique_id_function=lambda route: route.name,
        lifespan=open_house,
    )
    app.state.metrics = metrics
    answer = handle_problems(app, problem_page, metrics.turned_away)
    for router in (similar.router, search.router, products.router, pictures.router, operations.router):
        app.include_router(router, prefix="/api/v1", responses=ANY_PROBLEM, dependencies=[Depends(refuse_unknown)])
    app.include_router(health.router, responses=ANY_PROBLEM)
    for router in (
        shop_page.router,
        product_page.router,
        photo_page.router,
        why_page.router,
        reference.router,
        operations_page.router,
        files.router,
    ):
        app.include_router(router, include_in_schema=False)
    prefix = app.root_path = checked_prefix(options.prefix, _first_parts(app))
    describe(app)
    app.state.parameters = parameters_of(app.openapi())
    # The last one added is the first to see a request.
    app.add_middleware(Heads)
    app.add_middleware(LastResort, answer=answer)
    app.add_middleware(Lingering)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(Watch, metrics=metrics)
    if prefix:
        app.add_middleware(Prefix, prefix=prefix)
    return app


def _first_parts(app: FastAPI) -> set[str]:
    """The first parts of the application's own paths."""
    paths = (context.path for context in iter_route_contexts(app.routes))
    return {path.split("/")[1] for path in paths if path}
