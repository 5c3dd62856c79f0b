"""Questions to the shop."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestration import printing
from orchestration.cli.application import (
    ClassName,
    Duplicates,
    Exact,
    Exclude,
    Json,
    K,
    Picture,
    Where,
    open_deployment,
    show_report,
)


def similar(
    product_id: Annotated[str, typer.Argument(help="A product of the shop.")],
    k: K = 5,
    class_name: ClassName = None,
    where: Where = None,
    exclude: Exclude = None,
    duplicates: Duplicates = None,
    exact: Exact = False,
    picture: Picture = None,
    as_json: Json = False,
) -> None:
    """What looks like this product?"""
    from orchestration.answers import similar_to_product

    deployment = open_deployment()
    conditions = deployment.usual.conditions(class_name, where, duplicates, exact, exclude=exclude or ())
    show_report(similar_to_product(deployment, product_id, k, conditions, picture), as_json, printing.answer)


def search(
    photo: Annotated[Path, typer.Argument(help="A picture file.")],
    k: K = 5,
    class_name: ClassName = None,
    where: Where = None,
    exclude: Exclude = None,
    duplicates: Duplicates = None,
    exact: Exact = False,
    min_similarity: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Likeness below which nothing is similar; by default as calibrated for the index."
        ),
    ] = None,
    picture: Picture = None,
    as_json: Json = False,
) -> None:
    """What looks like the things on this photo?"""
    from orchestration.answers import similar_to_photo

    deployment = open_deployment()
    conditions = deployment.usual.conditions(class_name, where, duplicates, exact, min_similarity, exclude or ())
    show_report(similar_to_photo(deployment, photo, k, conditions, picture), as_json, printing.answer)


def explain(
    query: Annotated[str, typer.Argument(help="A product of the shop, or a picture file.")],
    result: Annotated[str, typer.Argument(help="A product that came as a result, or did not.")],
    as_json: Json = False,
) -> None:
    """Why is this product a result? Its vectors, crops, pictures, catalog rows, models and index."""
    from orchestration.answers import explain_result

    show_report(explain_result(open_deployment(), query, result), as_json, printing.explanation)


def status(
    problems: Annotated[int, typer.Option(help="How many problems to list.")] = 20, as_json: Json = False
) -> None:
    """Where every catalog row ended, the batches and the index."""
    from orchestration.answers import shop_status

    show_report(shop_status(open_deployment(), problems), as_json, printing.status)
