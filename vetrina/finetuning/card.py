"""The model card: what a fine-tuned extractor is, how good it was measured to be, on what, and how it is used.

Made of the model's own description (`model.json`) and its charts alone, so it says nothing that is not kept.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from vetrina.embedding.tuned import TunedModel
from vetrina.finetuning.document import Block, Bullets, Chart, Commands, Heading, Paragraph, Table, plain
from vetrina.finetuning.plan import PARTS, TRAIN, VALIDATION
from vetrina.words import counted

CONFUSION_FILE, CURVES_FILE = "confusion.png", "curves.png"
_MOST_CLASSES = 200
_MEANS = (("over queries", "base", "tuned"), ("over classes", "base_macro", "tuned_macro"))


def card(model: TunedModel, charts: Mapping[str, bytes]) -> list[Block]:
    """The card's blocks.

    Args:
        charts: file name → PNG, of CONFUSION_FILE and CURVES_FILE.
    """
    summary = model.summary
    return [
        Heading(f"Fine-tuned extractor {model.handle}", 1),
        Paragraph(_lead(model)),
        Heading("How to use it"),
        *_usage(model),
        Heading("Quality"),
        *_quality(summary),
        Heading("Classes"),
        class_table(summary["outcome"]["classification"]),
        Chart(CONFUSION_FILE, charts[CONFUSION_FILE], _confusion_in_words(summary["outcome"]["classification"])),
        Heading("Data"),
        *_data(model),
        Heading("Training"),
        *_training(model, charts[CURVES_FILE]),
        Heading("What it is for, and its limits"),
        Bullets(_limits(model)),
    ]


def class_table(quality: Mapping[str, Any]) -> Table:
    """Precision, recall and F1 of each class with their intervals, and the means."""
    rows = [
        [
            plain(entry["class"]),
            str(entry["products"]),
            *(interval(entry[rate]) for rate in ("precision", "recall", "f1")),
        ]
        for entry in quality["classes"][:_MOST_CLASSES]
    ]
    if len(quality["classes"]) > _MOST_CLASSES:
        rows.append([f"and {len(quality['classes']) - _MOST_CLASSES} more classes, see model.json", "", "", "", ""])
    for name in ("macro", "weighted"):
        means = (interval(quality[name][rate]) for rate in ("precision", "recall", "f1"))
        rows.append([f"{name} mean", str(quality["products"]), *means])
    return Table(("class", "products", "precision", "recall", "F1"), rows)


def retrieval_table(retrieval: Mapping[str, Any]) -> Table:
    """The base's and the tuned extractor's measures, and their paired difference."""
    rows = []
    for over, base, tuned in _MEANS:
        for name in retrieval[base]:
            difference = interval(retrieval["difference"][name], sign=True) if base == "base" else ""
            rows.append(
                [f"{name}, {over}", interval(retrieval[base][name]), interval(retrieval[tuned][name]), difference]
            )
    return Table(("measure", "base", "tuned", "difference"), rows)


def interval(entry: Mapping[str, float], *, sign: bool = False) -> str:
    """A figure with its interval."""
    form = "+.3f" if sign else ".3f"
    return f"{entry['value']:{form}} [{entry['low']:{form}}, {entry['high']:{form}}]"


def _lead(model: TunedModel) -> str:
    learnt = sum(parts.get(part, 0) for parts in model.summary["classes"].values() for part in (TRAIN, VALIDATION))
    return (
        f"{model.base['handle']}, trained further on {learnt} products of {plain(model.summary['shop'])} to tell "
        f"{len(model.classes)} values of {plain(model.plan['label'])!r} apart. It gives {model.dims} numbers for a "
        f"picture. Trained {model.trained_at[:16].replace('T', ' ')} UTC."
    )


def _usage(model: TunedModel) -> list[Block]:
    return [
        Commands(
            [
                shlex.join(["vetrina", "compare", model.base["handle"], model.handle, *_asking(model)]),
                f"vetrina switch {model.handle}",
                f"export VETRINA_EXTRACTOR={model.handle}",
            ]
        ),
        Paragraph(
            "Compare it first with the extractor in use, on the whole shop. The switch embeds everything again, while "
            "the index in place goes on serving; then the setting names the new extractor, in every process."
        ),
    ]


def _asking(model: TunedModel) -> list[str]:
    """Options of a comparison that asks for products alone that were not learnt from, where a split names them."""
    options = ["--label", model.plan["label"], "--split", model.summary["split"]]
    # A command with line feeds in it would be more than a command.
    return options if model.summary["split"] and all(map(str.isprintable, options)) else []


def _quality(summary: Mapping[str, Any]) -> list[Block]:
    outcome = summary["outcome"]
    quality, retrieval = outcome["classification"], outcome["retrieval"]
    blocks: list[Block] = [
        Paragraph(
            f"Measured on {quality['products']} {outcome['part']} products. The classifier is right for "
            f"{interval(quality['accuracy'])} of them. Brackets are 95 % bootstrap intervals."
        )
    ]
    if outcome["part"] == VALIDATION:
        blocks.append(
            Paragraph(
                "No products were held out: these are the validation products, by which the best epoch was chosen, so "
                "the figures flatter. Train with --split or --test-share for honest ones."
            )
        )
    if retrieval is None:
        blocks.append(Paragraph("No held-out product has its like among those learnt from, so no search was measured."))
    else:
        blocks += [
            Paragraph(
                f"As an extractor: {retrieval['queries']} held-out products each ask for what looks like them among "
                f"{retrieval['searched']} products, by whole pictures and exactly; right are those of the same "
                "label. The difference is paired, query by query."
            ),
            retrieval_table(retrieval),
        ]
    if outcome["unasked"]:
        blocks.append(
            Paragraph(f"{counted(outcome['unasked'], 'held-out product was', 'held-out products were')} not asked for.")
        )
    return blocks


def _confusion_in_words(quality: Mapping[str, Any]) -> str:
    """The chart's alternative text: which classes are taken for which most often."""
    names, counts = quality["confusion"]["classes"], quality["confusion"]["counts"]
    wrong = [
        (count, names[row], names[column])
        for row, line in enumerate(counts)
        for column, count in enumerate(line)
        if count and row != column
    ]
    said = "; ".join(
        f"{plain(true)} taken for {plain(given)} {count}×" for count, true, given in sorted(wrong, key=_most)[:5]
    )
    return f"Confusion matrix. Most frequent mistakes: {said}." if said else "Confusion matrix. There are no mistakes."


def _most(entry: tuple[int, str, str]) -> tuple[int, str, str]:
    return -entry[0], entry[1], entry[2]


def _data(model: TunedModel) -> list[Block]:
    summary = model.summary
    classes = summary["classes"]
    total = [str(sum(parts.get(part, 0) for parts in classes.values())) for part in PARTS]
    rows = [[plain(name), *(str(parts.get(part, 0)) for part in PARTS)] for name, parts in classes.items()]
    left_out = [f"{count} products: {plain(reason)}" for reason, count in summary["left_out"].items()]
    left_out += [
        f"the class {plain(name)!r}: {counted(count, 'different product', 'different products')} only"
        for name, count in summary["classes_left_out"].items()
    ]
    if summary["unreadable"]:
        left_out.append(f"{counted(summary['unreadable'], 'product', 'products')} whose picture cannot be read")
    groups = summary["duplicates"]
    split = f" Held out were the products with {plain(summary['split'])}." if summary["split"] else ""
    return [
        Paragraph(
            f"The products of index {summary['index']}, labelled by {plain(model.plan['label'])!r}.{split} "
            f"{counted(groups['groups'], 'group', 'groups')} of near-duplicates ({groups['products']} products) stayed "
            "together, so no picture is on two sides."
        ),
        Table(("class", *PARTS), [*rows[:_MOST_CLASSES], ["all", *total]]),
        *_left_out(left_out),
    ]


def _left_out(reasons: Sequence[str]) -> list[Block]:
    return [Paragraph("Left out:"), Bullets(reasons)] if reasons else []


def _training(model: TunedModel, curves: bytes) -> list[Block]:
    history, best = model.summary["history"], model.summary["best_epoch"]
    kept = history[best - 1]
    seconds = sum(entry["seconds"] for entry in history) / len(history)
    settings = {"base": model.base["handle"], "base fingerprint": model.base["fingerprint"], **model.plan}
    return [
        Paragraph(
            f"{counted(len(history), 'epoch', 'epochs')} of {seconds:.1f} s on average; epoch {best} was kept, with a "
            f"validation loss of {kept['val_loss']:.3f} and a validation accuracy of {kept['val_accuracy']:.3f}. The "
            "loss on training products is of drawn copies and holds every term that was learnt by, that on validation "
            "products is the plain cross-entropy. The curves are in the model's folder for TensorBoard too."
        ),
        Chart(
            CURVES_FILE,
            curves,
            f"Loss and accuracy over {len(history)} epochs. The loss went from {_from_to(history, 'loss')} on the "
            f"training products, from {_from_to(history, 'val_loss')} on the validation products.",
        ),
        Table(("setting", "value"), [[name.replace("_", " "), plain(value)] for name, value in settings.items()]),
    ]


def _from_to(history: Sequence[Mapping[str, float]], name: str) -> str:
    return f"{history[0][name]:.2f} to {history[-1][name]:.2f}"


def _limits(model: TunedModel) -> Sequence[str]:
    label = plain(model.plan["label"])
    said = [
        "It is for finding similar products in this shop and in shops with goods and pictures like these. It was "
        f"taught that products with the same {label!r} are alike; other likenesses (colour, pattern, style) may have "
        "become weaker, so look at the answers before it is switched on.",
        "Goods of a kind that it has not seen are placed by what they resemble; it does not say that it does not know.",
        "Its labels are as right as the catalog's. A wrong label teaches a wrong likeness.",
        "The intervals say how far chance among the measured products goes, and nothing of goods that come later; that "
        "of a class with a handful of products says little.",
        "It knows the labels of the products that it has learnt from. Whatever is measured over those by the same "
        "label (vetrina evaluate, vetrina compare without --split) flatters it; the figures above are of others.",
        "It looks at pictures of products. It is not made for telling people apart; nothing about people was measured.",
    ]
    if model.base["handle"].startswith("models/"):
        said.append(
            "Its base was itself fine-tuned here, so products held out this time may have been learnt from then, and "
            "the figures may flatter."
        )
    return said
