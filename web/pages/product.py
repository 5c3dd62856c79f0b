"""A product and what looks like it."""

from __future__ import annotations

from dataclasses import replace

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from web import asking
from web.house import ProductId, TheHouse
from web.pages.drawing import page
from web.pages.marking import parts_of_product
from web.pages.picking import ThePicked
from web.pages.results import Results, TheTerms
from web.pages.wording import Wording

router = APIRouter()


@router.get("/product", name="product_page", response_class=HTMLResponse)
async def product(
    request: Request, house: TheHouse, product_id: ProductId, picked: ThePicked, terms: TheTerms
) -> HTMLResponse:
    """A product, with the products that look like it."""
    showing = house.showcase.now
    shown = replace(picked, text="")

    def drawn() -> HTMLResponse:
        answer = asking.similar(showing, product_id, terms.k, terms.conditions(house.shop, shown))
        wording = Wording(showing)
        return page(
            request,
            "product.html",
            product=answer["query"],
            name=wording.name(product_id),
            things=parts_of_product(product_id, answer["query"]["items"]),
            results=Results(answer),
            goods=showing.goods,
            picked=shown,
            terms=terms,
            hides_duplicates=house.shop.usual.distinct,
            wording=wording,
            route="product_page",
            subject=[("id", product_id)],
        )

    return await house.turns(shown.filters).run(drawn)
