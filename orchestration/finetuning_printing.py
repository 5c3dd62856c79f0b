"""What the command line shows a person of a fine-tuning."""

from __future__ import annotations

from typing import Any

from rich.markup import escape
from rich.table import Table

from orchestration.evaluation_printing import console, show_table
from vetrina.finetuning import card, document


def finetuned(report: dict[str, Any]) -> None:
    """How good the model is, by class and as an extractor, and what to do next."""
    quality, retrieval, handle = report["classification"], report["retrieval"], report["handle"]
    if not report["trained"]:
        console.print("Nothing was trained: the same plan on the same products gave this model before.")
    console.print(
        f"[bold]{handle}[/bold]: right class for {card.interval(quality['accuracy'])} of {quality['products']} "
        f"{report['part']} products; epoch {report['best_epoch']} of {report['epochs']} kept"
    )
    _show(card.class_table(quality))
    if retrieval is not None:
        console.print(f"\nAs an extractor, {retrieval['queries']} of them among {retrieval['searched']} products:")
        _show(card.retrieval_table(retrieval))
    console.print("Brackets are 95 % intervals.")
    for reason, count in report["data"]["left_out"].items():
        console.print(f"  [yellow]{count:>6}[/yellow]  products left out: {escape(reason)}")
    for name, count in report["data"]["classes_left_out"].items():
        console.print(f"  [yellow]{count:>6}[/yellow]  products of {escape(name)!r} left out: too few")
    console.print(f"\nCard: {escape(report['card'])}")
    for when, command in zip(("Next:", "then:", "then:"), report["next"], strict=True):
        console.print(f"{when} {escape(command)}")


def _show(table: document.Table) -> None:
    shown = Table(*table.heads, box=None, header_style="bold")
    for row in table.rows:
        shown.add_row(*map(escape, row))
    show_table(shown)
