"""Models: getting them ready, teaching, comparing, changing them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestration import printing
from orchestration.cli.application import Json, fail_if, open_deployment, progress_of, say, show_report


def models(
    handles: Annotated[
        list[str] | None,
        typer.Argument(metavar="HANDLE...", help="Only these; else the bundled and the settings' ones."),
    ] = None,
    detector: Annotated[
        bool | None, typer.Option("--detector/--extractor", help="What the handles are; by default tried.")
    ] = None,
    listing: Annotated[bool, typer.Option("--list", help="Only say which models are on this machine.")] = False,
    as_json: Json = False,
) -> None:
    """Get models ready on this machine: the bundled ones and those that the settings name, or others."""
    from orchestration.model_preparation import models_here, prepare_handles, prepare_wanted

    deployment, report = open_deployment(ready=False), say if as_json else typer.echo
    if handles and not listing:
        role = None if detector is None else "detector" if detector else "extractor"
        prepare_handles(deployment, handles, role, report)
    elif not listing:
        prepare_wanted(deployment, report)
    if listing or as_json:
        show_report({"models": models_here()}, as_json, printing.models)


def finetune(
    label: Annotated[
        str, typer.Option("--label", help="What it is to tell apart: an attribute of the catalog, or: detected.")
    ],
    base: Annotated[
        str | None, typer.Option("--base", metavar="HANDLE", help="The extractor to start from; by default the shop's.")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            "--split", metavar="ATTRIBUTE=VALUE", help="These products are held out, and it is judged by them."
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the training products, at most.")] = None,
    unfrozen: Annotated[
        int | None, typer.Option(min=0, help="Last blocks of the network to train; 0: the head alone.")
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of the head, at its highest.")] = None,
    batch: Annotated[int | None, typer.Option(min=2, help="Pictures in one step.")] = None,
    patience: Annotated[int | None, typer.Option(min=1, help="Epochs without a better loss before it stops.")] = None,
    contrastive: Annotated[float | None, typer.Option(min=0, help="Weight of the contrastive loss; 0: none.")] = None,
    augment: Annotated[
        bool | None, typer.Option("--augment/--no-augment", help="Learn from turned, shifted, scaled copies too.")
    ] = None,
    amounts: Annotated[str | None, typer.Option(help="How far such copies differ: gentle or source.")] = None,
    test_share: Annotated[
        float | None, typer.Option(min=0, help="Share of the products held out where no --split names them.")
    ] = None,
    min_per_class: Annotated[
        int | None, typer.Option(min=3, help="A class with fewer different products is left out.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of everything drawn at random.")] = None,
    as_json: Json = False,
) -> None:
    """Teach the extractor your own goods; the shop goes on with the one it has."""
    from orchestration import finetuning_printing
    from orchestration.finetuning import finetune_shop

    chosen = {
        "label": label,
        "base": base,
        "epochs": epochs,
        "unfrozen": unfrozen,
        "learning_rate": learning_rate,
        "batch": batch,
        "patience": patience,
        "contrastive": contrastive,
        "augment": augment,
        "amounts": amounts,
        "test_share": test_share,
        "min_per_class": min_per_class,
        "seed": seed,
    }
    plan = {name: value for name, value in chosen.items() if value is not None}
    report = finetune_shop(open_deployment(), plan, split=split or "", progress=progress_of(as_json))
    show_report(report, as_json, finetuning_printing.finetuned)


def compare(
    model_a: Annotated[str, typer.Argument(help="An extractor's handle: bundled:NAME, keras:NAME, models/..., a URL.")],
    model_b: Annotated[str, typer.Argument(help="Another one.")],
    label: Annotated[
        str | None,
        typer.Option("--label", help="Alike are products with the same value of this attribute, or: detected."),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many results count.")] = 10,
    last_word: Annotated[
        bool, typer.Option("--last-word", help="Only the last word of the label counts, such as the noun of a name.")
    ] = False,
    split: Annotated[
        str | None,
        typer.Option("--split", metavar="ATTRIBUTE=VALUE", help="These products ask, and only the others are found."),
    ] = None,
    sample: Annotated[int, typer.Option(min=1, help="Ask at most so many queries, drawn at random.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Of everything drawn at random.")] = 17,
    report: Annotated[Path | None, typer.Option("--report", help="Also write a report into this HTML file.")] = None,
    as_json: Json = False,
) -> None:
    """Which of two extractors finds better on this shop, and what does each cost?"""
    from orchestration import comparison_printing
    from orchestration.comparison import compare_models
    from vetrina.evaluation.evaluation import Plan

    values = compare_models(
        open_deployment(),
        (model_a, model_b),
        Plan(label=label or "", k=k, sample=sample, seed=seed),
        last_word=last_word,
        split=split,
        report=report,
        progress=progress_of(as_json),
    )
    show_report(values, as_json, comparison_printing.comparison)


def switch(
    model: Annotated[str, typer.Argument(help="The extractor's handle to serve with from now on.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would cost.")] = False,
    as_json: Json = False,
) -> None:
    """Embed everything with another extractor while the index in place serves, and switch once all is there."""
    from orchestration import comparison_printing
    from orchestration.switching import switch_extractor

    report = switch_extractor(open_deployment(), model, dry_run=dry_run, progress=progress_of(as_json))
    show_report(report, as_json, comparison_printing.switched)
    fail_if(bool(report["lost"]))
