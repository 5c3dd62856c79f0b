"""What the command line shows a person of a fine-tuning."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vetrina.finetuning import card, document

_out = Console(highlight=False, soft_wrap=True)
_WIDTH = 110  # at least: a terminal may wrap a wide table, but figures are never cut


def finetuned(report: dict[str, Any]) -> None:
    """How good the model is, by class and as an extractor, and what to do next."""
    quality, retrieval, handle = report["classification"], report["retrieval"], report["handle"]
    if not report["trained"]:
        _out.print("Nothing was trained: the same plan on the same products gave this model before.")
    _out.print(
        f"[bold]{handle}[/bold]: right class for {card.interval(quality['accuracy'])} of {quality['products']} "
        f"{report['part']} products; epoch {report['best_epoch']} of {report['epochs']} kept"
    )
    _show(card.class_table(quality))
    if retrieval is not None:
        _out.print(f"\nAs an extractor, {retrieval['queries']} of them among {retrieval['searched']} products:")
        _show(card.retrieval_table(retrieval))
    _out.print("Brackets are 95 % intervals.")
    for reason, count in report["data"]["left_out"].items():
        _out.print(f"  [yellow]{count:>6}[/yellow]  products left out: {escape(reason)}")
    for name, count in report["data"]["classes_left_out"].items():
        _out.print(f"  [yellow]{count:>6}[/yellow]  products of {escape(name)!r} left out: too few")
    _out.print(f"\nCard: {escape(report['card'])}")
    _out.print(f"Next: vetrina compare {escape(report['extractor'])} {handle}\nthen: export VETRINA_EXTRACTOR={handle}")


def _show(table: document.Table) -> None:
    shown = Table(*table.heads, box=None, header_style="bold")
    for row in table.rows:
        shown.add_row(*map(escape, row))
    _out.print(shown, width=max(_out.width, _WIDTH))
