"""A document of a few kinds of blocks, written as Markdown and as one HTML file that loads nothing.

All texts are plain: whatever they hold is escaped in both, so a class may be called <script> or [link](x).
Belongs here: how blocks look. Does not belong here: what any document says.
"""

from __future__ import annotations

import base64
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from vetrina.evaluation.page import as_table, document

_LONGEST = 120
_MARKED = re.compile(r"([\\`*_\[\]<>|#&~$!])")
_STYLE = """
body{max-width:920px} p,li{max-width:72ch} h1{overflow-wrap:anywhere} img.chart{max-width:100%;height:auto}
pre{background:#f4f5f7;padding:10px 14px;border-radius:6px;overflow-x:auto}
"""


@dataclass(frozen=True, slots=True)
class Heading:
    """The title (level 1) or a section's name (level 2)."""

    text: str
    level: int = 2


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Some sentences."""

    text: str


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list of sentences."""

    texts: Sequence[str]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells under heads; the first column is text, the others are figures."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Commands:
    """Lines for a shell."""

    lines: Sequence[str]


@dataclass(frozen=True, slots=True)
class Chart:
    """A PNG picture: its file name beside the Markdown, its bytes, and what it shows in words."""

    file: str
    png: bytes
    alt: str


Block = Heading | Paragraph | Bullets | Table | Commands | Chart


def plain(value: object) -> str:
    """A stranger's text in one line of bounded length, without control characters."""
    text = "".join(" " if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"} else c for c in str(value))
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def as_html(title: str, blocks: Sequence[Block]) -> str:
    """The whole page; pictures are within it."""
    return document(title, [_html(block) for block in blocks], _STYLE)


def as_markdown(blocks: Sequence[Block]) -> str:
    """The whole text; pictures are files beside it."""
    return "\n\n".join(_markdown(block) for block in blocks) + "\n"


def _html(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"<h{level}>{escape(text)}</h{level}>"
        case Paragraph(text):
            return f"<p>{escape(text)}</p>"
        case Bullets(texts):
            return "<ul>" + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul>"
        case Table(heads, rows):
            return as_table(heads, [[f"<bdi>{escape(cell)}</bdi>" for cell in row] for row in rows])
        case Commands(lines):
            return f"<pre>{escape(chr(10).join(lines))}</pre>"
        case Chart(_, png, alt):
            data = base64.b64encode(png).decode()
            return f'<p><img class="chart" alt="{escape(alt)}" src="data:image/png;base64,{data}"></p>'


def _markdown(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {_marked(text)}"
        case Paragraph(text):
            return _marked(text)
        case Bullets(texts):
            return "\n".join(f"- {_marked(text)}" for text in texts)
        case Table(heads, rows):
            lines = [heads, ["---", *["---:"] * (len(heads) - 1)]]
            shown = [[_marked(cell) for cell in row] for row in rows]
            return "\n".join(f"| {' | '.join(cells)} |" for cells in (*lines, *shown))
        case Commands(lines):
            return "\n".join(["```sh", *lines, "```"])
        case Chart(file, _, alt):
            return f"![{_marked(alt)}]({file})"


def _marked(text: str) -> str:
    return _MARKED.sub(r"\\\1", text)
