"""`vetrina finetune` as a person meets it, where it has nothing to teach; what it prints where it has."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fault_server import FaultServer
from support.shops import Shop, opened_shop, rows_of
from support.tiny_models import HANDLE, made_up_outcome, summary_of

from orchestration import finetuning_printing

VETRINA = str(Path(sys.executable).with_name("vetrina"))


@pytest.fixture(scope="module")
def two_kinds(
    tmp_path_factory: pytest.TempPathFactory, product_pictures: dict[str, bytes], bundled_models: None
) -> Iterator[Shop]:
    """Twelve products: two of one category, the others of another."""
    pictures = {f"/{name}.png": data for name, data in product_pictures.items()}
    with FaultServer(pictures) as server, opened_shop(tmp_path_factory.mktemp("two")) as shop:
        names = list(product_pictures)
        rows = rows_of(server, names[:2], category="rare") + rows_of(server, names[2:], category="common")
        shop.add(shop.catalog("all", rows))
        yield shop


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--label", "categry"], "vetrina: No product has the attribute 'categry'; did you mean 'category'?"),
        (
            ["--label", "category"],
            "vetrina: Fewer than two classes of category have 5 different products or more; too small are: rare (2). "
            "Add pictures or name another attribute",
        ),
        (
            ["--label", "category", "--base", "models/0011223344556677"],
            "vetrina: There is no model models/0011223344556677 in ",
        ),
        (["--label", "category", "--split", "half"], "vetrina: --split is 'half'; write it as ATTRIBUTE=VALUE"),
        (["--label", "category", "--learning-rate", "0"], "vetrina: learning_rate of the training is 0.0; it must be"),
    ],
)
def test_what_cannot_be_taught_is_one_line_and_a_failure(two_kinds: Shop, options: list[str], said: str) -> None:
    done = subprocess.run([VETRINA, "finetune", *options, "--json"], capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stdout) == (1, "")
    lines = [line for line in done.stderr.splitlines() if not line.startswith("INFO: ")]
    assert len(lines) == 1 and lines[0].startswith(said), done.stderr
    assert not two_kinds.deployment.store.names("models")


def test_a_report_is_printed_with_figures_card_and_next_steps(capsys: pytest.CaptureFixture[str]) -> None:
    summary = summary_of(made_up_outcome())
    names = ("classes", "left_out", "classes_left_out", "unreadable", "duplicates")
    report = {
        "handle": "models/0011223344556677",
        "trained": False,
        "epochs": 3,
        "best_epoch": 2,
        **summary["outcome"],
        "data": {name: summary[name] for name in names},
        "card": "/shop/[red]card.html",
        "next": [f"vetrina compare {HANDLE} models/0011223344556677", "vetrina switch x", "export y"],
    }
    finetuning_printing.finetuned(json.loads(json.dumps(report)))
    printed = capsys.readouterr().out
    for said in (
        "Nothing was trained",
        "models/0011223344556677: right class for 0.833 [",
        "of 6 test products; epoch 2 of 3 kept",
        "weighted mean",
        "+0.500 [+0.400, +0.600]",
        "3  products left out: no label",
        "2  products of 'star' left out: too few",
        "Card: /shop/[red]card.html",
        f"Next: vetrina compare {HANDLE} models/0011223344556677",
    ):
        assert said in printed
