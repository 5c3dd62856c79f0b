"""Kinds of index compared on the shop's own vectors, for the command line: as plain values and as a table."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from orchestration.deployment import Deployment
from orchestration.evaluation_printing import console, show_table
from vetrina.evaluation.kinds import compare_kinds, held_out


def kinds_of_shop(deployment: Deployment, k: int) -> dict[str, Any]:
    """What each kind of index costs to find the k nearest of the current index's vectors. Raises NotFound."""
    index = deployment.window().index
    task = held_out(index.rows.vectors, k)
    with tempfile.TemporaryDirectory(prefix="vetrina-kinds-") as folder:
        kinds = [compared.as_json() for compared in compare_kinds(task, Path(folder), device=deployment.index.device)]
    return {
        "version": index.version,
        "items": len(task.vectors),
        "dims": task.vectors.shape[1],
        "queries": len(task.queries),
        "k": task.k,
        "served_with": index.manifest.serve_with,
        "kinds": kinds,
    }


def show(values: dict[str, Any]) -> None:
    """A line for each kind and recall."""
    console.print(
        f"[bold]{values['items']} vectors of {values['dims']} numbers[/bold], asked by {values['queries']} others of "
        f"the shop for {values['k']} each; index {values['version']} is served by {values['served_with']} search"
    )
    columns = ("kind", "build", "files", "recall wanted", "found", "effort", "compared", "p50", "p99")
    table = Table(*columns, box=None, header_style="bold")
    for kind in values["kinds"]:
        name, build, size = kind["kind"], f"{kind['build_s']:.2f} s", f"{kind['file_bytes'] / 1e6:.1f} MB"
        for reached, visited in zip(kind["reached"], kind["visited"], strict=True):
            effort = "not reached" if reached["effort"] is None else str(reached["effort"])
            times = [f"{reached[quantile]:.3f} ms" for quantile in ("p50_ms", "p99_ms")]
            table.add_row(
                name,
                build,
                size,
                f"{reached['target']:.2f}",
                f"{reached['recall']:.3f}",
                effort,
                f"{visited:.1%}",
                *times,
            )
            name = build = size = ""
    show_table(table)
    console.print("Files are beside the vectors, which every kind keeps; times are processor time of one thread.")
    for kind in values["kinds"]:
        if kind["note"]:
            console.print(f"[yellow]note[/yellow] {escape(kind['note'])}")
