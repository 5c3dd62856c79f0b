"""The command line. Every verb takes --json; errors are one line and a non-zero exit.

Exit codes: 0 done (also with some bad rows), 1 nothing could be done, 2 the command itself was wrong.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestration import printing
from vetrina import __version__
from vetrina.errors import NotFound, PictureError, VetrinaError
from vetrina.settings import Settings

if TYPE_CHECKING:  # Dagster takes a second to import; only verbs that need it pay
    from orchestration.deployment import Deployment

os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")

app = typer.Typer(
    name="vetrina",
    help="Visually similar products for your shop.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
K = Annotated[int, typer.Option("-k", min=1, help="How many products.")]
ClassName = Annotated[
    str | None, typer.Option("--class", help="Only products of this Open Images class, or of one within it.")
]
Where = Annotated[
    str | None,
    typer.Option(
        "--where",
        metavar="FILTER",
        help='Only products whose catalog attributes pass, such as: category = "Living room" and price < 100',
    ),
]
Duplicates = Annotated[
    bool | None,
    typer.Option("--duplicates/--no-duplicates", help="Also products that show the same picture again."),
]
Exact = Annotated[bool, typer.Option("--exact", help="Compare with everything: what did the index miss?")]
Confirm = Annotated[
    bool, typer.Option("--confirm-removals", help="Remove what a whole catalog lacks, however much it is.")
]
Picture = Annotated[Path | None, typer.Option("--picture", help="Also draw the answer into this PNG file.")]


@app.callback(invoke_without_command=True)
def version(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    """Visually similar products for your shop."""
    if version:
        typer.echo(f"vetrina {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        raise typer.Exit(2)


@app.command()
def add(
    catalogs: Annotated[list[str], typer.Argument(metavar="CATALOG...", help="Catalog files: local paths or s3://.")],
    batch: Annotated[str | None, typer.Option("--batch", help="The catalog's name; by default the file's.")] = None,
    snapshot: Annotated[
        bool, typer.Option("--snapshot", help="The file is the whole catalog: what it lacks was removed.")
    ] = False,
    confirm_removals: Confirm = False,
    as_json: Json = False,
) -> None:
    """Take catalogs in: fetch, detect, embed what is new, and publish the index."""
    deployment = _deployment()
    from orchestration.intake import add_catalogs

    report = add_catalogs(
        deployment,
        catalogs,
        name=batch,
        snapshot=snapshot,
        confirmed=confirm_removals,
        progress=_progress(as_json),
    )
    _print(report, as_json, printing.intake)
    _fail_if(bool(report["failed"]))


@app.command()
def sync(
    source: Annotated[
        str | None, typer.Argument(help="The whole catalog: a path, s3:// or http(s); by default VETRINA_SYNC_SOURCE.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="The catalog's name; by default its file's.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    confirm_removals: Confirm = False,
    as_json: Json = False,
) -> None:
    """Take a whole catalog in: work only what changed, remove what vanished, and publish the index."""
    deployment = _deployment()
    from orchestration.intake import sync_source

    report = sync_source(
        deployment,
        source=source,
        name=name,
        dry_run=dry_run,
        confirmed=confirm_removals,
        progress=_progress(as_json),
    )
    _print(report, as_json, printing.synced)
    _fail_if(bool(report["failed"]))


@app.command()
def retry(as_json: Json = False) -> None:
    """Ask again for every picture that failed, and publish the index."""
    deployment = _deployment()
    from orchestration.intake import retry_failed

    report = retry_failed(deployment, progress=_progress(as_json))
    _print(report, as_json, printing.intake)
    _fail_if(bool(report["failed"]))


@app.command()
def similar(
    product_id: Annotated[str, typer.Argument(help="A product of the shop.")],
    k: K = 5,
    class_name: ClassName = None,
    where: Where = None,
    duplicates: Duplicates = None,
    exact: Exact = False,
    picture: Picture = None,
    as_json: Json = False,
) -> None:
    """What looks like this product?"""
    from orchestration.answers import similar_to_product

    deployment = _deployment()
    conditions = deployment.conditions(class_name, where, duplicates, exact)
    _print(similar_to_product(deployment, product_id, k, conditions, picture), as_json, printing.answer)


@app.command()
def search(
    photo: Annotated[Path, typer.Argument(help="A picture file.")],
    k: K = 5,
    class_name: ClassName = None,
    where: Where = None,
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

    deployment = _deployment()
    conditions = deployment.conditions(class_name, where, duplicates, exact, min_similarity)
    _print(similar_to_photo(deployment, photo, k, conditions, picture), as_json, printing.answer)


@app.command()
def explain(
    query: Annotated[str, typer.Argument(help="A product of the shop, or a picture file.")],
    result: Annotated[str, typer.Argument(help="A product that came as a result, or did not.")],
    as_json: Json = False,
) -> None:
    """Why is this product a result? Its vectors, crops, pictures, catalog rows, models and index."""
    from orchestration.answers import explain_result

    _print(explain_result(_deployment(), query, result), as_json, printing.explanation)


@app.command()
def status(
    problems: Annotated[int, typer.Option(help="How many problems to list.")] = 20, as_json: Json = False
) -> None:
    """Where every catalog row ended, the batches and the index."""
    from orchestration.answers import shop_status

    _print(shop_status(_deployment(), problems), as_json, printing.status)


@app.command()
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
        _deployment(),
        Plan(label=label, k=k, sample=sample, seed=seed),
        Choice(last_word=last_word, queries=queries, split=split, distractors=distractors, sweep=sweep),
        report=report,
        progress=_progress(as_json),
    )
    _print(values, as_json, evaluation_printing.evaluation)


@app.command()
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
    report = finetune_shop(_deployment(), plan, split=split or "", progress=_progress(as_json))
    _print(report, as_json, finetuning_printing.finetuned)


@app.command()
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
        _deployment(),
        (model_a, model_b),
        Plan(label=label or "", k=k, sample=sample, seed=seed),
        last_word=last_word,
        split=split,
        report=report,
        progress=_progress(as_json),
    )
    _print(values, as_json, comparison_printing.comparison)


@app.command()
def switch(
    model: Annotated[str, typer.Argument(help="The extractor's handle to serve with from now on.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would cost.")] = False,
    as_json: Json = False,
) -> None:
    """Embed everything with another extractor while the index in place serves, and switch once all is there."""
    from orchestration import comparison_printing
    from orchestration.switching import switch_extractor

    report = switch_extractor(_deployment(), model, dry_run=dry_run, progress=_progress(as_json))
    _print(report, as_json, comparison_printing.switched)
    _fail_if(bool(report["lost"]))


@app.command()
def duplicates(as_json: Json = False) -> None:
    """Which products show the same picture?"""
    from orchestration import evaluation_printing
    from orchestration.evaluation import duplicates_in_shop

    _print(duplicates_in_shop(_deployment(), progress=_progress(as_json)), as_json, evaluation_printing.duplicates)


@app.command()
def kinds(
    k: Annotated[int, typer.Option("-k", min=1, help="How many neighbours to find.")] = 10, as_json: Json = False
) -> None:
    """Annoy, exact, LSH and graph indexes on the shop's vectors: what each costs to reach a recall."""
    from orchestration import index_kinds

    _print(index_kinds.kinds_of_shop(_deployment(), k), as_json, index_kinds.show)


@app.command()
def export(
    target: Annotated[
        str, typer.Argument(help="A file (.parquet, .csv, .jsonl), or a database: sqlite:///FILE, postgresql://….")
    ],
    since: Annotated[
        str | None, typer.Option("--since", metavar="TABLE", help="Into a file: only what changed since this table.")
    ] = None,
    afresh: Annotated[
        bool, typer.Option("--afresh", help="Into a database: write everything, not only what changed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Hand the table of similar products over: whole, or what changed."""
    from orchestration.exports import export_table

    report = export_table(_deployment(), target, since=since, afresh=afresh, progress=_progress(as_json))
    _print(report, as_json, printing.exported)


@app.command()
def rollback(
    to: Annotated[str | None, typer.Option("--to", help="A version; by default the one before the current.")] = None,
    as_json: Json = False,
) -> None:
    """Serve an earlier version of the index again."""
    from orchestration.upkeep import roll_back

    _print(roll_back(_deployment(ready=False), to), as_json, printing.published)


@app.command()
def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    keep_versions: Annotated[
        int, typer.Option(min=1, help="Newest index versions to keep, besides what a rollback needs.")
    ] = 3,
    older_than: Annotated[
        float, typer.Option(min=0, metavar="DAYS", help="Delete only what is older: longer than your longest run.")
    ] = 1.0,
    models: Annotated[
        bool, typer.Option("--models", help="Also delete fine-tuned models that no setting and no kept index uses.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Delete what nothing needs any more: pictures without a product, old index versions, leftovers."""
    from orchestration.upkeep import collect_garbage

    report = collect_garbage(
        _deployment(), keep_versions=keep_versions, older_than_days=older_than, dry_run=dry_run, models=models
    )
    _print(report, as_json, printing.garbage)


@app.command()
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

    deployment, report = _deployment(ready=False), _say if as_json else typer.echo
    if handles and not listing:
        role = None if detector is None else "detector" if detector else "extractor"
        prepare_handles(deployment, handles, role, report)
    elif not listing:
        prepare_wanted(deployment, report)
    if listing or as_json:
        _print({"models": models_here()}, as_json, printing.models)


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="Where the sample shop's pictures and catalogs go.")] = Path(".demo"),
) -> None:
    """The main job on a real shop: five catalogs, about 800 products."""
    deployment = _deployment()
    from orchestration.demo import run_demo

    run_demo(deployment, folder)


def _deployment(*, ready: bool = True) -> Deployment:
    """The shop under the environment's settings; `ready`: with its models, fetched first where they are not here.

    To be called before a module with Dagster's definitions is imported: they are loaded at import, and need models
    that can be named.
    """
    from orchestration.deployment import Deployment

    deployment = Deployment(Settings.from_environment())
    if ready:
        from orchestration.model_preparation import prepare_missing

        prepare_missing(deployment, _say)
    return deployment


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _print(report: dict[str, Any], as_json: bool, show: Callable[[dict[str, Any]], None]) -> None:
    if as_json:
        typer.echo(json.dumps(report, ensure_ascii=False, indent=1))
    else:
        show(report)


def _progress(as_json: bool) -> printing.Steps:
    return printing.Steps(quiet=as_json)


def _fail_if(failed: bool) -> None:
    if failed:
        raise typer.Exit(1)


def main() -> None:
    """Run the command line."""
    try:
        app()
    except (VetrinaError, PictureError) as error:
        print(f"vetrina: {error}", file=sys.stderr)
        sys.exit(1)
    except FileNotFoundError as error:
        print(f"vetrina: {NotFound(f'There is no file {error.filename}; check the path')}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("vetrina: stopped; run the same command again to go on from here", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
