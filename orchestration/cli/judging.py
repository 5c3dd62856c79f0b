"""How good the answers are, and by what they are found."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestration.cli.application import Json, open_deployment, progress_of, show_report


def evaluate(
    label: Annotated[
        str, typer.Option("--label", help="Alike are products with the same value of this attribute, or: detected.")
    ],
    k: Annotated[int, typer.Option("-k", min=1, help="How many results count.")] = 10,
    last_word: Annotated[
        bool, typer.Option("--last-word", help="Only the last word of the label counts, such as the noun of a name.")
    ] = False,
    queries: Annotated[
        str | None, typer.Option("--queries", metavar="ATTRIBUTE=VALUE", help="Only these products ask.")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option("--split", metavar="ATTRIBUTE=VALUE", help="These products ask, and only the others are found."),
    ] = None,
    distractors: Annotated[
        str | None,
        typer.Option(
            "--distractors",
            metavar="N|ATTRIBUTE=VALUE",
            help="So many products without the label, or those that match, may be found too.",
        ),
    ] = None,
    sweep: Annotated[bool, typer.Option("--sweep", help="Also measure how many dimensions (PCA) it takes.")] = False,
    sample: Annotated[int, typer.Option(min=1, help="Ask at most so many queries, drawn at random.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Of everything drawn at random.")] = 17,
    report: Annotated[Path | None, typer.Option("--report", help="Also write a report into this HTML file.")] = None,
    as_json: Json = False,
) -> None:
    """How good are the answers?"""
    from orchestration import evaluation_printing
    from orchestration.evaluation import evaluate_shop
    from vetrina.evaluation.evaluation import Plan
    from vetrina.evaluation.shop import Choice

    values = evaluate_shop(
        open_deployment(),
        Plan(label=label, k=k, sample=sample, seed=seed),
        Choice(last_word=last_word, queries=queries, split=split, distractors=distractors, sweep=sweep),
        report=report,
        progress=progress_of(as_json),
    )
    show_report(values, as_json, evaluation_printing.evaluation)


def duplicates(as_json: Json = False) -> None:
    """Which products show the same picture?"""
    from orchestration import evaluation_printing
    from orchestration.evaluation import duplicates_in_shop

    show_report(
        duplicates_in_shop(open_deployment(), progress=progress_of(as_json)), as_json, evaluation_printing.duplicates
    )


def kinds(
    k: Annotated[int, typer.Option("-k", min=1, help="How many neighbours to find.")] = 10, as_json: Json = False
) -> None:
    """Annoy, exact, LSH and graph indexes on the shop's vectors: what each costs to reach a recall."""
    from orchestration import index_kinds

    show_report(index_kinds.kinds_of_shop(open_deployment(), k), as_json, index_kinds.show)
