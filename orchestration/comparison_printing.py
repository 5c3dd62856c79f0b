"""What the command line shows a person of a comparison and of a switch, as tables."""

from __future__ import annotations

from typing import Any

from rich.markup import escape
from rich.table import Table

from orchestration.evaluation_printing import console, estimate, show_table

_MOST_CLASSES = 30


def comparison(values: dict[str, Any]) -> None:
    """The verdict, the measures with their paired differences, the classes, and what each model costs."""
    models, k = values["models"], values["k"]
    for name in "ab":
        console.print(f"[bold]{name.upper()}[/bold] {escape(models[name]['handle'])}")
    console.print(f"{values['queries']} queries over {values['products']} products\n")
    if "difference" in values:
        _measures(values)
    overlap = values["overlap"]
    console.print(
        f"Of the {k} nearest, {estimate(overlap)} are the same in both answers; {overlap['same_set']} queries have "
        "all in common"
    )
    _costs(models)
    for note in values["notes"]:
        console.print(f"[yellow]note[/yellow] {escape(note)}")
    if values["report"]:
        console.print(f"The report is in {escape(values['report'])}")
    console.print(f"[bold]{escape(values['verdict']['text'])}[/bold]")


def _measures(values: dict[str, Any]) -> None:
    difference = values["difference"]
    for title, a, b, change in (
        ("over queries", values["a"], values["b"], difference),
        ("over classes", values["a"]["macro"], values["b"]["macro"], difference["macro"]),
    ):
        table = Table(title, "A", "B", "B − A, paired", box=None, header_style="bold")
        for name in difference["macro"]:
            table.add_row(name, estimate(a[name]), estimate(b[name]), estimate(change[name], sign=True))
        show_table(table)
    console.print("Brackets are 95 % intervals.\n")
    table = Table("class", "queries", "overlap", "A", "B", "B − A, paired", box=None, header_style="bold")
    for entry in values["classes"][:_MOST_CLASSES]:
        table.add_row(
            escape(entry["class"]),
            str(entry["queries"]),
            f"{entry['overlap']:.2f}",
            f"{entry['a']:.3f}",
            f"{entry['b']:.3f}",
            estimate(entry["difference"], sign=True),
        )
    show_table(table)
    if len(values["classes"]) > _MOST_CLASSES:
        console.print(f"and {len(values['classes']) - _MOST_CLASSES} more classes (--json lists them)")
    for reason, count in values["left_out"].items():
        console.print(f"  [yellow]{count:>6}[/yellow]  products do not ask: {escape(reason)}")


def _costs(models: dict[str, Any]) -> None:
    heads = ("", "CPU ms alone", "in batches", "wall p50", "wall p99", "memory", "numbers", "opened in")
    table = Table(*heads, box=None, header_style="bold")
    for name in "ab":
        speed = models[name]["speed"]
        table.add_row(
            name.upper(),
            f"{speed['single']['cpu_p50']:.1f}",
            f"{speed['batch']['cpu_p50']:.1f}",
            f"{speed['single']['wall_p50']:.1f} ms",
            f"{speed['single']['wall_p99']:.1f} ms",
            f"{speed['peak_mib']:.0f} MiB",
            f"{models[name]['dims']}",
            f"{speed['opened_in']:.1f} s",
        )
    show_table(table)


def switched(report: dict[str, Any]) -> None:
    """What a switch found and did, and what is left to do."""
    made = report["embedding"]
    if made is None:
        console.print(escape(report["summary"]))
    else:
        console.print(
            f"{made['embedded']} crops embedded by {escape(report['model'])} in {made['seconds']:.0f} s, "
            f"{made['reused']} reused"
        )
    index = report["index"]
    if index is not None:
        console.print(
            f"Its index has {index['products']} products and {index['items']} vectors, is served by "
            f"{index['serve_with']} search, and Annoy's recall@10 is {index['recall']:.3f}"
        )
    if report["published"] is not None:
        console.print(f"Index {report['published']['version']} is published")
    for problem in (*report["lost"], *report["problems"]):
        console.print(f"[yellow]note[/yellow] {escape(problem)}")
    console.print(f"[bold]{escape(report['next'])}[/bold]")
