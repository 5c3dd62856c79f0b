"""What the command line shows a person: tables, progress bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from vetrina.words import counted

_out = Console(highlight=False, soft_wrap=True)
_PAIRS = 3  # of an explanation that a person is shown; the first decides
_NO_TABLE = "[yellow]note[/yellow] Its table of similar products is not there; materialize similar_products"
_STEPS = {
    "raw_images": "pictures",
    "crops_and_labels": "detection",
    "embeddings": "embedding",
    "trial_embeddings": "embedding",
}


class Steps:
    """Progress of runs on standard error: bars on a terminal, a line for each finished step elsewhere."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._console = Console(stderr=True, highlight=False)
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def begin(self, title: str) -> None:
        """A run begins."""
        if self._quiet:
            return
        self._console.print(f"[bold]{escape(title)}[/bold]")
        if sys.stderr.isatty():
            columns = (TextColumn("  {task.description:<10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._bars = Progress(*columns, console=self._console)
            self._bars.start()

    def step(self, step: str, done: int, total: int) -> None:
        """A step of the run has come so far."""
        name = _STEPS.get(step, step)
        if self._bars is not None:
            if step not in self._tasks:
                self._tasks[step] = self._bars.add_task(name, total=total)
            self._bars.update(self._tasks[step], completed=done, total=total)
        elif not self._quiet and done == total:
            self._console.print(f"  {name}: {done} of {total}")

    def note(self, line: str) -> None:
        """Something that a person should know while it goes on."""
        if not self._quiet:
            self._console.print(f"  {escape(line)}", soft_wrap=True)

    def count(self, what: str, done: int) -> None:
        """So many were worked, of nobody knows how many."""
        if self._bars is not None:
            if what not in self._tasks:
                self._tasks[what] = self._bars.add_task(what, total=None)
            self._bars.update(self._tasks[what], completed=done)

    def end(self) -> None:
        """The run is over."""
        if self._bars is not None:
            self._bars.stop()
        self._bars = None
        self._tasks.clear()


def intake(report: dict[str, Any]) -> None:
    """What `add` and `retry` did: a coverage table, and what it cost."""
    states = sorted({state for entry in report["batches"] for state in entry["states"]})
    if report["batches"]:
        table = Table("batch", "rows", *states, box=None, header_style="bold")
        for entry in report["batches"]:
            counts = [str(entry["states"].get(state, 0)) for state in states]
            table.add_row(escape(entry["batch"]), str(entry["rows"]), *counts)
        _out.print(table)
    for entry in report["batches"]:
        _problems(entry["problems"], entry["reasons"])
    for failure in report["failed"]:
        _out.print(f"[red]failed[/red] {escape(failure['catalog'])}: {escape(failure['error'])}")
    if not report["batches"]:
        return  # what a failed run had done already is kept, and counted by the run that goes on from it
    total = report["total"]
    _out.print(
        f"{total['fetched']} fetched, {total['detected']} detected, {total['embedded']} embedded, "
        f"{counted(total['reused'], 'picture', 'pictures')} reused"
    )
    if total["kept"]:
        _out.print(f"{total['kept']} of these as they were before: their servers fail now, and could not say")
    if report["published"] is not None:
        found = report["published"]
        verb = "published" if found["built"] else "unchanged"
        _out.print(
            f"Index {found['version']} {verb}: {found['products']} products, {found['items']} vectors, "
            f"served by {found['serve_with']} search, Annoy recall@10 {found['recall']:.3f}"
        )


def synced(report: dict[str, Any]) -> None:
    """What `sync` found different, and then as `intake`."""
    found = report["sync"]
    difference = found["difference"]
    if difference is not None:
        names = ("new", "changed", "vanished", "removed", "unchanged")
        counts = ", ".join(f"{difference[name]} {name}" for name in names)
        _out.print(f"{escape(found['catalog'])}: {counts}; {difference['rejected']} rows rejected")
    if found["skipped"]:
        _out.print(f"Skipped: {escape(found['skipped'])}")
    if report["batches"] or report["failed"]:
        intake(report)


def answer(report: dict[str, Any]) -> None:
    """Similar products, best first."""
    query = report["query"]
    title = query.get("name") or query.get("product_id") or query["photo"]
    _out.print(f"[bold]Like {escape(title)}[/bold]")
    if query.get("detections"):
        seen = ", ".join(f"{found['class']} {found['score']:.2f}" for found in query["detections"])
        _out.print(f"on it: {escape(seen)}")
    if report["nothing_similar"]:
        _out.print(
            f"[yellow]Nothing in the shop is similar[/yellow] (likeness {report['likeness']:.3f}, similar from "
            f"{report['min_similarity']:.3f}); the nearest are:"
        )
    table = Table("score", "product", "name", "class", "matched", box=None, header_style="bold")
    for found in report["similar"]:
        row = (found["product_id"], found["name"] or "", found["class"] or "", found["matched"])
        table.add_row(f"{found['score']:.3f}", *(escape(text) for text in row))
    _out.print(table)
    if report["left_out"]:
        same = ", ".join(escape(other["product_id"]) for other in report["left_out"])
        _out.print(f"Left out, since they show the same picture again: {same}")
    if report["available"] <= len(report["similar"]) + len(report["left_out"]):
        shown = len(report["similar"])
        _out.print(f"These are all {shown} that qualify." if shown else "Nothing else qualifies.")
    if report["missed"] is not None:
        missed = ", ".join(map(escape, report["missed"])) or "none of them"
        _out.print(f"Compared with everything; the index alone would have missed: {missed}")
    if report["picture"]:
        every = len(report["similar"])
        some = f": the first {report['drawn']} of {every}" if report["drawn"] < every else ""
        _out.print(f"Drawn in {escape(report['picture'])}{some}")
    _notes(report["problems"])


def explanation(report: dict[str, Any]) -> None:
    """Why a product is a result, from its place back to the catalogs."""
    query, result = report["query"], report["result"]
    asked = query.get("product_id") or query["photo"]
    _out.print(f"[bold]{escape(_named(result['product_id'], result['name']))}[/bold] for {escape(asked)}")
    how = "found by the index" if report["found"] else "[red]missed by the index[/red]"
    if report["newer_than_index"]:
        how = "newer than the index, compared beside it"
    _out.print(f"place {report['rank']} of {report['of']}, score {report['score']:.4f}, {how}")
    table = Table("cosine", "distance", "penalty", "query", "result", box=None, header_style="bold")
    for pair in report["pairs"][:_PAIRS]:
        numbers = (f"{pair[name]:.4f}" for name in ("cosine", "distance", "penalty"))
        table.add_row(*numbers, escape(_side(pair["query"])), escape(_side(pair["result"])))
    _out.print(table)
    if len(report["pairs"]) > _PAIRS:
        _out.print(f"  and {len(report['pairs']) - _PAIRS} pairs more, with less")
    for side in (query, result):
        if side["origin"] is not None:
            _origin(side)
    index = report["index"]
    space = f"{index['raw_dims']} numbers"
    if index["projection"] is not None:
        space += f" projected to {index['dims']} ({index['projection']['variance_kept']:.1%} of the variance)"
    _out.print(f"index {index['version']}, built {index['built_at']}, {space}, {index['serve_with']} search")
    models = ", ".join(f"{role} {fingerprint}" for role, fingerprint in report["models"].items())
    _out.print(f"models: {escape(models)}")
    _notes(report["problems"])


def _notes(problems: list[str]) -> None:
    for problem in problems:
        _out.print(f"[yellow]note[/yellow] {escape(problem)}")


def _named(product_id: str, name: str | None) -> str:
    return f"{product_id} ({name})" if name else product_id


def _side(item: dict[str, Any]) -> str:
    if item["kind"] == "whole":
        return "whole picture"
    box = ", ".join(f"{side:.2f}" for side in item["box"])
    return f"{item['label']} {item['score']:.2f} at {box}"


def _origin(side: dict[str, Any]) -> None:
    origin = side["origin"]
    line = "" if origin["line"] is None else f", line {origin['line']}"
    _out.print(f"[bold]{escape(_named(side['product_id'], side['name']))}[/bold]")
    _out.print(f"  {escape(origin['source'])}{line}; batch {escape(origin['batch'])} of {origin['registered_at']}")
    _out.print(f"  picture {escape(origin['picture'])}")
    said = ", ".join(f"{name}: {value}" for name, value in json.loads(origin["attributes"]).items() if value)
    if said:
        _out.print(f"  {escape(said)}")


def status(report: dict[str, Any]) -> None:
    """Where rows ended, the batches, the index."""
    _out.print(f"[bold]{escape(report['store'])}[/bold]: {report['rows']} rows")
    for state, count in sorted(report["states"].items(), key=lambda entry: -entry[1]):
        _out.print(f"  {count:>8}  {state}")
    _problems(report["problems"], report["reasons"])
    if report["batches"]:
        table = Table("batch", "rows", "states", box=None, header_style="bold")
        for entry in report["batches"]:
            states = ", ".join(f"{count} {state}" for state, count in entry["states"].items())
            table.add_row(escape(entry["batch"]), str(entry["rows"]), escape(entry["error"] or states))
        _out.print(table)
    for problem in report["set_aside"]:
        _out.print(
            f"[red]set aside[/red] {escape(problem['source'])} since {problem['since']}: {escape(problem['reason'])}"
        )
    index = report["index"]
    if index is None:
        _out.print("No index yet.")
    else:
        _out.print(
            f"Index {index['version']} (publication {index['number']}): {index['products']} products, "
            f"{index['items']} vectors, served by {index['serve_with']} search, recall@10 {index['recall']:.3f}"
        )
        _classes(index)
        _table(index["table"])
    if report["undetectable_classes"]:
        names = ", ".join(report["undetectable_classes"])
        _out.print(f"[yellow]note[/yellow] The detector does not know these classes, so they get no crops: {names}")
    _notes(report["damaged"])


def _table(table: dict[str, Any] | None) -> None:
    if table is None:
        _out.print(_NO_TABLE)
    elif table["made_by"] == "index":
        _out.print(
            f"Table of similar products: made by the index, which finds {table['recall']:.3f} of its {table['rows']} "
            f"lines (lower 95 % bound {table['recall_lower_95']:.3f})"
        )


def _classes(index: dict[str, Any]) -> None:
    worst = index["worst_class"]
    if worst is not None:
        asked = counted(worst["queries"], "query", "queries")
        _out.print(f"Lowest recall of a class: {escape(worst['label'])} {worst['recall']:.3f} ({asked})")
    if index["exact_classes"] and index["serve_with"] != "exact":
        _out.print(f"Searched exactly, being below the target: {escape(', '.join(index['exact_classes']))}")


def published(report: dict[str, Any]) -> None:
    """The version that is served now."""
    _out.print(f"Serving index {report['version']} (publication {report['number']})")
    if not report["table"]:
        _out.print(_NO_TABLE)
    if report["other_extractor"]:
        made = f"with {report['extractor']}" if report["extractor"] else "with another extractor"
        back = report["extractor"] or "it"
        _out.print(
            f"[yellow]note[/yellow] It was made {escape(made)}: set VETRINA_EXTRACTOR to {escape(back)}, or the next "
            "change of the shop publishes an index of the one in use again"
        )


def exported(report: dict[str, Any]) -> None:
    """What an export wrote."""
    whole = f"Table {report['table']}"
    if report["since"] is None:
        _out.print(f"{whole}: {report['products']} products written")
    elif report["since"] == report["table"]:
        _out.print(f"Nothing has changed since table {report['table']}")
    else:
        _out.print(
            f"{whole} since {report['since']}: {report['products']} products changed, {report['removed']} removed"
        )


def garbage(report: dict[str, Any]) -> None:
    """What was deleted, by kind, and what was left."""
    table = Table("kind", "files", "MB", box=None, header_style="bold")
    for kind, amount in sorted(report["kinds"].items()):
        table.add_row(escape(kind), str(amount["files"]), f"{amount['bytes'] / 1e6:.1f}")
    if report["kinds"]:
        _out.print(table)
    verb = "would be deleted" if report["dry_run"] else "deleted"
    total = report["total"]
    _out.print(f"{total['files']} files, {total['bytes'] / 1e6:.1f} MB {verb}")
    for model in report["models"]:
        _out.print(f"[yellow]not in use[/yellow] {escape(model)}; --models deletes it")
    for reason in report["left"]:
        _out.print(f"[yellow]left alone[/yellow] {escape(reason)}")


def models(report: dict[str, Any]) -> None:
    """The models on this machine."""
    for model in report["models"]:
        if model["problem"]:
            state = f"[yellow]not ready[/yellow]: {escape(model['problem'])}"
        else:
            state = f"{model['fingerprint']}, {model['bytes'] / 1e6:.1f} MB"
        _out.print(f"{model['role']:<9} {escape(model['handle'])} ({model['kind']}): {state}")


def _problems(problems: list[dict[str, Any]], reasons: dict[str, int]) -> None:
    for reason, count in sorted(reasons.items(), key=lambda entry: -entry[1]):
        _out.print(f"  [yellow]{count:>6}[/yellow]  {escape(reason)}")
    for problem in problems:
        where = f"line {problem['line']}" if problem["line"] is not None else "removed"
        if problem["product_id"] is not None:
            where += f", id {problem['product_id']}"
        _out.print(f"          {escape(where)}: {escape(problem['detail'])}")
