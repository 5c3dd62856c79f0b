"""The model card and its charts: complete, escaped, offline."""

import io
import re
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from support.tiny_models import DIMS, HANDLE, LABELS, PREPROCESSING, made_up_outcome, summary_of

from vetrina.embedding.tuned import TunedModel
from vetrina.finetuning.card import card, class_table
from vetrina.finetuning.charts import confusion_png, curves_png
from vetrina.finetuning.document import Bullets, Chart, Commands, Heading, Paragraph, Table, as_html, as_markdown
from vetrina.finetuning.folder import charts_of
from vetrina.finetuning.plan import Plan

EVIL = "<script>alert('x')</script> | [click](http://evil.example/) $\\frac{1}{0}$ \u202e\x00"


def described(**changes: object) -> TunedModel:
    summary = summary_of(made_up_outcome()) | changes
    plan = Plan(base=HANDLE, label="shape").as_json()
    base = {"handle": HANDLE, "fingerprint": "0" * 16}
    return TunedModel("w", PREPROCESSING, DIMS, base, LABELS, plan, "t", summary, "2026-01-02T03:04:05+00:00", {})


def page(model: TunedModel) -> str:
    return as_html("title", card(model, charts_of(model.summary)))


def text_of(model: TunedModel) -> str:
    """What a person reads of the page."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", page(model))))


class Tags(HTMLParser):
    """Collects elements and what they point to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.addresses += [value or "" for name, value in attributes if name in {"src", "href", "srcset", "action"}]


def test_the_card_tells_use_quality_data_training_and_limits() -> None:
    model = described()
    text = text_of(model)
    for said in (
        f"Fine-tuned extractor {model.handle}",
        f"export VETRINA_EXTRACTOR={model.handle}",
        f"vetrina compare {HANDLE} {model.handle} --label shape --split part=held",
        f"vetrina switch {model.handle}",
        "Measured on 6 test products. The classifier is right for 0.833",
        "map@10, over queries 0.500 [0.400, 0.600]",
        "trained further on 30 products of /shop/store to tell 3 values of 'shape' apart",
        "Held out were the products with part=held. 1 group of near-duplicates (2 products)",
        "3 products: no label",
        "the class 'star': 2 different products only",
        "1 product whose picture cannot be read",
        "3 epochs of 2.0 s on average; epoch 2 was kept",
        "learning rate 0.001",
        "2026-01-02 03:04 UTC",
    ):
        assert said in text
    assert "the figures flatter" not in text and "without --split) flatters it" in text


def test_the_class_table_has_every_class_and_both_means() -> None:
    table = class_table(made_up_outcome().classification.as_json())
    assert [row[:2] for row in table.rows] == [
        ["cherry", "2"],
        ["lime", "2"],
        ["plum", "2"],
        ["macro mean", "6"],
        ["weighted mean", "6"],
    ]


def test_the_charts_alternative_text_names_the_mistakes() -> None:
    charts = [block for block in card(described(), charts_of(described().summary)) if isinstance(block, Chart)]
    assert charts[0].alt == "Confusion matrix. Most frequent mistakes: cherry taken for lime 1×."
    assert charts[1].alt.startswith("Loss and accuracy over 3 epochs. The loss went from 1.00 to 0.33")


def test_figures_that_flatter_are_called_so() -> None:
    outcome = made_up_outcome().as_json() | {"part": "validation", "retrieval": None}
    without = described(outcome=outcome, split="")
    text = text_of(without)
    # By its own label it would be compared on what it has learnt.
    assert f"vetrina compare {HANDLE} {without.handle} vetrina switch" in text
    assert "the figures flatter" in text
    assert "no search was measured" in text
    tuned_again = described()
    tuned_again.base["handle"] = "models/0011223344556677"
    assert "Its base was itself fine-tuned here" in text_of(tuned_again)


def test_the_page_loads_nothing_and_runs_nothing_whatever_a_catalog_holds() -> None:
    quality = made_up_outcome().classification.as_json()
    quality["classes"][0]["class"] = EVIL
    quality["confusion"]["classes"][0] = EVIL
    outcome = made_up_outcome().as_json() | {"classification": quality}
    model = described(outcome=outcome, split=EVIL, shop=EVIL, left_out={EVIL: 1}, classes={EVIL: {"train": 1}})
    tags = Tags(page(model))
    assert not {"script", "link", "iframe", "a", "object"} & set(tags.names)
    assert [address[:22] for address in tags.addresses] == ["data:image/png;base64,"] * 2
    assert "\x00" not in page(model) and "\u202e" not in page(model)
    markdown = as_markdown(card(model, charts_of(model.summary)))
    assert "<script" not in markdown.replace("\\<", "")
    assert "](http" not in markdown.replace("\\]", "")


def test_blocks_are_written_in_both_forms() -> None:
    blocks = [
        Heading("A *title*", 1),
        Paragraph("Words & more"),
        Bullets(["one", "two"]),
        Table(("class", "n"), [["a|b", "1"]]),
        Commands(["vetrina --help"]),
        Chart("c.png", b"png", "what <it> shows"),
    ]
    assert as_markdown(blocks) == (
        "# A \\*title\\*\n\nWords \\& more\n\n- one\n- two\n\n| class | n |\n| --- | ---: |\n| a\\|b | 1 |\n\n"
        "```sh\nvetrina --help\n```\n\n![what \\<it\\> shows](c.png)\n"
    )
    html = as_html("t", blocks)
    for said in ("<h1>A *title*</h1>", "<p>Words &amp; more</p>", "<li>two</li>", "<pre>vetrina --help</pre>"):
        assert said in html
    assert 'alt="what &lt;it&gt; shows" src="data:image/png;base64,cG5n"' in html


@pytest.mark.parametrize("classes", [1, 2, 12, 41])
def test_a_confusion_matrix_is_a_small_picture_for_any_number_of_classes(classes: int) -> None:
    names = [EVIL if number == 0 else f"class {number} 日本" for number in range(classes)]
    png = confusion_png(names, np.eye(classes, dtype=np.int64) * 7)
    assert len(png) < 100_000
    picture = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
    assert (picture[:, :, 2] - picture[:, :, 0] > 60).any()  # something blue


def test_curves_are_drawn_from_the_first_epoch_on() -> None:
    one = {"loss": 1.0, "val_loss": 1.2, "accuracy": 0.5, "val_accuracy": 0.4}
    first, later = curves_png([one], 1), curves_png([one, one | {"loss": 0.5}], 2)
    assert first != later
    assert max(len(first), len(later)) < 100_000
