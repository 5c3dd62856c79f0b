"""Whether the server lives, whether it can answer, and its figures."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import APIRouter, Response

from web.api import models
from web.api.document import answering
from web.api.examples import METRICS_EXAMPLE
from web.house import TheHouse
from web.problems import NothingToShow
from web.sending import as_bytes
from web.server.metrics import CONTENT_TYPE

router = APIRouter(tags=["health"])
_NOW = {"Cache-Control": "no-store"}


@router.get("/healthz", responses=answering(models.Alive, []))
async def healthz() -> Response:
    """Whether the process lives and answers."""
    return Response(b'{"status":"alive"}', media_type="application/json", headers=_NOW)


@router.get(
    "/readyz",
    responses=answering(models.Ready, [503]),
)
async def readyz(house: TheHouse) -> Response:
    """Whether there is something to show; 503 with the reason otherwise.

    A shop whose store cannot be reached any more goes on with what it shows and stays ready; `problem` says so.
    """
    try:
        showing = house.showcase.now
    except NothingToShow as error:
        raise NothingToShow(house.showcase.problem or str(error)) from None
    ready = {
        "status": "ready",
        "index_version": showing.window.index.version,
        "products": len(showing.goods),
        "last_look": datetime.fromtimestamp(house.showcase.looked_at, UTC).isoformat(timespec="seconds"),
        "problem": house.showcase.problem,
    }
    return Response(as_bytes(ready), media_type="application/json", headers=_NOW)


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {
            "description": "Prometheus text",
            "content": {"text/plain": {"schema": {"type": "string"}, "example": METRICS_EXAMPLE}},
        }
    },
)
async def metrics(house: TheHouse) -> Response:
    """Figures for Prometheus: requests, latency, the index and its recall, the tail, the process."""
    return Response(house.metrics.text(), headers={**_NOW, "Content-Type": CONTENT_TYPE})
