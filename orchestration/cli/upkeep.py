"""What a shop needs from time to time."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestration import printing
from orchestration.cli.application import Json, open_deployment, progress_of, show_report


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

    report = export_table(open_deployment(), target, since=since, afresh=afresh, progress=progress_of(as_json))
    show_report(report, as_json, printing.exported)


def rollback(
    to: Annotated[str | None, typer.Option("--to", help="A version; by default the one before the current.")] = None,
    as_json: Json = False,
) -> None:
    """Serve an earlier version of the index again."""
    from orchestration.upkeep import roll_back

    show_report(roll_back(open_deployment(ready=False), to), as_json, printing.published)


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
        open_deployment(), keep_versions=keep_versions, older_than_days=older_than, dry_run=dry_run, models=models
    )
    show_report(report, as_json, printing.garbage)
