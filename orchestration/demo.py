"""The demo: a real shop in four batches, a question or two, a fifth batch that costs only itself, and a re-run."""

from __future__ import annotations

from pathlib import Path

from orchestration import printing
from orchestration.answers import similar_to_product
from orchestration.deployment import Deployment
from orchestration.intake import Report, add_catalogs
from orchestration.sample_shop import get_sample_shop

_ASKED = ("Blend Swap CC-0#armchair", "Scopia#bathroom3", "Kator Legaz#bathroom-tissue")


def run_demo(deployment: Deployment, folder: Path) -> None:
    """Show the main job from end to end. Raises NoSampleShop."""
    print(f"The sample shop: five catalogs of homeware in {folder}/")
    *early, late = get_sample_shop(folder)
    costs: list[tuple[str, Report]] = []

    def add(title: str, catalogs: list[Path]) -> None:
        print(f"\n== {title}")
        sources = [str(catalog) for catalog in catalogs]
        report = add_catalogs(deployment, sources, name=None, snapshot=False, progress=printing.Steps(quiet=False))
        printing.intake(report)
        costs.append((title, report))

    add("Four catalogs, four batches", early)
    for product_id in _ASKED[::2]:
        print()
        drawn = folder / f"similar-to-{product_id.rpartition('#')[2]}.png"
        printing.answer(similar_to_product(deployment, product_id, 5, picture=drawn))
    add(f"A new batch: {late.name}", [late])
    print()
    printing.answer(similar_to_product(deployment, _ASKED[1], 5))
    add("Everything again, unchanged", [*early, late])

    print("\n== What each step cost")
    for title, report in costs:
        total = report["total"]
        seconds = sum(entry["seconds"] for entry in report["batches"]) + (report["published"] or {}).get("seconds", 0)
        print(
            f"{title + ':':42} {total['fetched']:4} fetched, {total['detected']:4} detected, "
            f"{total['embedded']:4} embedded, {seconds:6.1f} s"
        )
    print(
        "\nWhere to look next\n"
        "  make serve                                            the shop window, at http://127.0.0.1:8000/\n"
        "  .venv/bin/vetrina status                              where every product ended\n"
        f"  .venv/bin/vetrina similar '{_ASKED[0]}' -k 5   what looks like an armchair\n"
        f"  .venv/bin/vetrina search {folder}/scopia/bathroom3.png     the same by photo\n"
        "  make ui                                               the runs and assets in Dagster's UI\n"
        f"  {folder}/similar-to-*.png                             answers as pictures"
    )
