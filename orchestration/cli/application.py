"""The application that commands belong to, and what they share: options, the shop, how answers are shown."""

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
Exclude = Annotated[
    list[str] | None, typer.Option("--exclude", metavar="ID", help="Not this product; may be given several times.")
]
Exact = Annotated[bool, typer.Option("--exact", help="Compare with everything: what did the index miss?")]
Confirm = Annotated[
    bool, typer.Option("--confirm-removals", help="Remove what a whole catalog lacks, however much it is.")
]
Picture = Annotated[
    Path | None, typer.Option("--picture", help="Also draw the answer, its 100 best at most, into this PNG file.")
]


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


def open_deployment(*, ready: bool = True) -> Deployment:
    """The shop under the environment's settings; `ready`: with its models, fetched first where they are not here."""
    from orchestration.deployment import Deployment

    deployment = Deployment(Settings.from_environment())
    if ready:
        from orchestration.model_preparation import prepare_missing

        prepare_missing(deployment, say)
    return deployment


def say(line: str) -> None:
    """A line on standard error."""
    print(line, file=sys.stderr, flush=True)


def show_report(report: dict[str, Any], as_json: bool, show: Callable[[dict[str, Any]], None]) -> None:
    """An answer on standard output, as JSON or for a person."""
    if as_json:
        typer.echo(json.dumps(report, ensure_ascii=False, indent=1))
    else:
        show(report)


def progress_of(as_json: bool) -> printing.Steps:
    """Who is told how a run goes on."""
    return printing.Steps(quiet=as_json)


def fail_if(failed: bool) -> None:
    """End with exit code 1 where something failed."""
    if failed:
        raise typer.Exit(1)
