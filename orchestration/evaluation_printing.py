"""What the command line shows a person of the shop's quality: evaluations and near-duplicates, as tables."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vetrina.evaluation.sweep_chart import measures_of

console = Console(highlight=False, soft_wrap=True)
_WIDTH = 110  # at least: a terminal may wrap a wide table, but figures are never cut
_MOST_GROUPS = 20
_MOST_CLASSES = 30


def evaluation(values: dict[str, Any]) -> None:
    """The measures with their intervals, the classes, and what was left out."""
    counts, k = values["counts"], values["k"]
    console.print(
        f"[bold]By {escape(values['by'])}[/bold]: {counts['queries']} queries over {counts['searched']} products, "
        f"{counts['classes']} classes"
    )
    names = list(values["macro"])
    without = values["without_duplicates"]
    table = Table("measure", "over queries", "over classes", box=None, header_style="bold")
    for name in names:
        table.add_row(name, estimate(values[name]), estimate(values["macro"][name]))
    show_table(table)
    console.print(f"Brackets are 95 % intervals; recall@{k} is against exact search.\n")
    names = [name for name in names if name != "precision@5"]
    table = Table("class", "products", "queries", *names, box=None, header_style="bold")
    for entry in values["classes"][:_MOST_CLASSES]:
        means = [f"{entry[name]:.3f}" if name in entry else "" for name in names]
        table.add_row(escape(entry["class"]), str(entry["products"]), str(entry["queries"]), *means)
    show_table(table)
    if len(values["classes"]) > _MOST_CLASSES:
        console.print(f"and {len(values['classes']) - _MOST_CLASSES} more classes (--json lists them)")
    for reason, count in counts["left_out"].items():
        console.print(f"  [yellow]{count:>6}[/yellow]  products do not ask: {escape(reason)}")
    found = values["duplicates"]
    console.print(
        f"Near-duplicates of queries: {found['products']} products in {found['groups']} groups; "
        f"{without['queries_with']} queries could find one, {without['answers_with']} did among the first {k}, "
        f"{without['dropped']} have nothing else to find"
    )
    if without["difference"]:
        table = Table("without them", "over queries", "difference", box=None, header_style="bold")
        for name, difference in without["difference"].items():
            table.add_row(name, estimate(without[name]), estimate(difference, sign=True))
        show_table(table)
    index, latency, visited = values["index"], values["latency_ms"], values["visited"]
    console.print(
        f"Index {index['version']}, {values['served']['exact']} answers exact, {values['served']['approximate']} "
        f"approximate; a search took {latency['p50']:.2f} ms (p50), {latency['p99']:.2f} ms (p99), "
        f"{values['cpu_ms']['mean']:.2f} ms of the processor, and compared {visited['mean']:.0f} vectors"
    )
    if values["sweep"] is not None:
        sweep(values["sweep"])
    if values["report"]:
        console.print(f"The report is in {escape(values['report'])}")
    for note in values["notes"]:
        console.print(f"[yellow]note[/yellow] {escape(note)}")


def sweep(values: dict[str, Any]) -> None:
    """Quality and cost by the number of dimensions."""
    first, *others = measures_of(values)
    table = Table("dimensions", "variance kept", first, *others, "CPU ms a query", box=None, header_style="bold")
    for space in values["spaces"]:
        dims = f"{space['dims']} (raw)" if space["raw"] else str(space["dims"])
        means = [f"{space[name]['value']:.3f}" for name in others]
        table.add_row(dims, f"{space['variance_kept']:.3f}", estimate(space[first]), *means, f"{space['cpu_ms']:.3f}")
    console.print(f"\nWhole pictures of {values['products']} products, {values['queries']} queries, exact search:")
    show_table(table)


def duplicates(values: dict[str, Any]) -> None:
    """Groups with evidence, and products whose picture changed."""
    groups, conflicts = values["groups"], values["conflicts"]
    inside = sum(len(group["products"]) for group in groups)
    console.print(f"[bold]{inside} of {values['products']} products show the picture of another[/bold]")
    for number, group in enumerate(groups[:_MOST_GROUPS], start=1):
        console.print(f"Group {number}")
        for product in group["products"]:
            console.print(f"  {escape(product['product_id'])}  [dim]{escape(product['name'] or '')}[/dim]")
        for link in group["evidence"]:
            measures = ""
            if link["cosine"] is not None:
                measures = (
                    f" (cosine {link['cosine']:.2f}, {link['bits']} of 64 bits differ, colours by {link['spread']:.1f} "
                    "of 255)"
                )
            console.print(f"    {escape(link['first'])} = {escape(link['second'])}: {link['why']}{measures}")
    if len(groups) > _MOST_GROUPS:
        console.print(f"and {len(groups) - _MOST_GROUPS} more groups (--json lists them)")
    if conflicts:
        console.print(
            f"[bold]{len(conflicts)} products had other bytes as their picture before[/bold]: "
            "a new photo, or one id used twice?"
        )
    for conflict in conflicts[:_MOST_GROUPS]:
        batches = ", ".join(entry["batch"] for entry in conflict["pictures"])
        what = {True: "the same picture", False: "another picture", None: "no longer known"}[conflict["same_picture"]]
        console.print(f"  {escape(conflict['product_id'])}: {what}  [dim]in {escape(batches)}[/dim]")
    if len(conflicts) > _MOST_GROUPS:
        console.print(f"and {len(conflicts) - _MOST_GROUPS} more (--json lists them)")
    if values["unreadable"]:
        console.print(
            f"[yellow]note[/yellow] {len(values['unreadable'])} pictures cannot be read any more (--json says why)"
        )
    for problem in values["problems"]:
        console.print(f"[yellow]note[/yellow] {escape(problem)}")


def show_table(table: Table) -> None:
    """Print a table wide enough that no figure is cut."""
    Console(highlight=False, width=max(console.width, _WIDTH)).print(table)


def estimate(entry: dict[str, float], *, sign: bool = False) -> str:
    """A value with its interval, as rich's markup."""
    form = "+.3f" if sign else ".3f"
    return f"{entry['value']:{form}} [dim]({entry['low']:{form}} to {entry['high']:{form}})[/dim]"
