"""What looks like this: by product."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from web import asking
from web.api import models
from web.api.document import UNCHANGED, answering
from web.house import ProductId, TheHouse, TheWanted
from web.sending import send

router = APIRouter(tags=["similar"])


@router.get("/similar", responses=answering(models.SimilarAnswer) | UNCHANGED)
async def similar(request: Request, house: TheHouse, product_id: ProductId, wanted: TheWanted) -> Response:
    """The products most similar to a product.

    Filters come first: k products are returned whenever k pass. The product itself is never among them.
    """
    return await send(request, house, lambda showing: asking.similar(showing, product_id, wanted.k, wanted.conditions))


@router.get("/explain", responses=answering(models.ExplainAnswer) | UNCHANGED)
async def explain(
    request: Request,
    house: TheHouse,
    product_id: ProductId,
    result: Annotated[str, Query(min_length=1, max_length=1000, description="The product that came as a result.")],
) -> Response:
    """Why a product is a result of another: vectors, crops, pictures, catalog lines, models."""
    return await send(request, house, lambda showing: asking.explained(showing, product_id, result))
