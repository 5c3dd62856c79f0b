"""Taking catalogs in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestration import printing
from orchestration.cli.application import Confirm, Json, fail_if, open_deployment, progress_of, show_report


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
    from orchestration.intake import add_catalogs

    report = add_catalogs(
        open_deployment(),
        catalogs,
        name=batch,
        snapshot=snapshot,
        confirmed=confirm_removals,
        progress=progress_of(as_json),
    )
    show_report(report, as_json, printing.intake)
    fail_if(bool(report["failed"]))


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
    from orchestration.intake import sync_source

    report = sync_source(
        open_deployment(),
        source=source,
        name=name,
        dry_run=dry_run,
        confirmed=confirm_removals,
        progress=progress_of(as_json),
    )
    show_report(report, as_json, printing.synced)
    fail_if(bool(report["failed"]))


def retry(as_json: Json = False) -> None:
    """Ask again for every picture that failed, and publish the index."""
    from orchestration.intake import retry_failed

    report = retry_failed(open_deployment(), progress=progress_of(as_json))
    show_report(report, as_json, printing.intake)
    fail_if(bool(report["failed"]))


def demo(
    folder: Annotated[Path, typer.Option(help="Where the sample shop's pictures and catalogs go.")] = Path(".demo"),
) -> None:
    """The main job on a real shop: five catalogs, about 800 products."""
    from orchestration.demo import run_demo

    run_demo(open_deployment(), folder)
