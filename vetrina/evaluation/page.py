"""The parts of a page that is read offline: texts, tables, intervals and products, all escaped, all inline.

Belongs here: what reports share. Does not belong here: what any one of them says.
"""

from __future__ import annotations

import base64
import io
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape

import cv2
import numpy as np
from PIL import Image

from vetrina.errors import PictureError
from vetrina.search.answers import Products

Pixels = Callable[[str], np.ndarray]
"""The picture of a sha256: uint8 [height, width, 3]; raises PictureError or FileNotFoundError."""

_SIDE = 96  # pixels of thumbnails beside each other
_LONGEST = 120  # characters of a name
_STYLE = """
:root{color-scheme:light}
body{font:15px/1.5 system-ui,sans-serif;color:#1c1f24;background:#fff;margin:0 auto;max-width:1080px;padding:28px}
h1{font-size:26px;margin:0 0 4px} h2{font-size:19px;margin:36px 0 10px} .soft{color:#787e88}
table{border-collapse:collapse;font-variant-numeric:tabular-nums} .scroll{overflow-x:auto}
th,td{text-align:right;padding:4px 12px 4px 0;border-bottom:1px solid #eceef1;white-space:nowrap}
th:first-child,td:first-child{text-align:left;white-space:normal} th{color:#787e88;font-weight:600}
.bar{display:grid;grid-template-columns:220px 1fr 60px;gap:10px;align-items:center;margin:2px 0}
.bar i{display:block;height:14px;background:#0e6e5c;border-radius:2px} .bar span{overflow-wrap:anywhere}
.query{display:flex;flex-wrap:wrap;gap:10px;padding:12px 0;border-bottom:1px solid #eceef1}
figure{margin:0;width:112px;font-size:12px;line-height:1.35;overflow-wrap:anywhere}
figure img,figure .none{width:96px;height:96px;object-fit:contain;border:3px solid #dde0e5;border-radius:4px;
display:block;background:#fcfcfc} figure.asks{margin-right:18px} figure.asks img{border-color:#1c1f24}
figure.right img,figure.right .none{border-color:#2f9e5b} figure.wrong img,figure.wrong .none{border-color:#d1495b}
svg image{mix-blend-mode:multiply}
svg{max-width:100%;height:auto;background:#fcfcfc;border:1px solid #eceef1;border-radius:6px}
.key span{display:inline-block;margin:0 14px 4px 0} .key i{display:inline-block;width:10px;height:10px;
border-radius:5px;margin-right:5px} dl{display:grid;grid-template-columns:220px 1fr;gap:4px 12px;margin:0}
dt{color:#787e88} dd{margin:0;overflow-wrap:anywhere}
"""


def document(title: str, parts: Sequence[str], style: str = "") -> str:
    """A whole page; it loads nothing from anywhere.

    Args:
        parts: HTML, in order.
        style: further rules of this page.
    """
    body = "\n".join(parts)
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{as_text(title)}</title><style>{_STYLE}{style}</style></head><body>\n{body}\n</body></html>\n"
    )


def as_text(value: object, longest: int = _LONGEST) -> str:
    """Any text as HTML: cut, without control characters, escaped, its direction its own."""
    text = str(value)
    shown = text if len(text) <= longest else text[: longest - 1] + "…"
    visible = (c if unicodedata.category(c) not in {"Cc", "Cf", "Cs"} else " " for c in shown)
    return escape("".join(visible))


class Faces:
    """Products as they are shown: name and thumbnail."""

    def __init__(self, products: Products, names: Mapping[str, str], pixels: Pixels) -> None:
        self._sha256 = dict(zip(products.product_ids, products.sha256, strict=True))
        self._names = names
        self._pixels = pixels
        self._made: dict[tuple[str, int], str | None] = {}

    def name(self, product_id: str) -> str:
        """The name as HTML, or the id."""
        return as_text(self._names.get(product_id) or product_id)

    def thumbnail(self, product_id: str, side: int) -> str | None:
        """The picture as a data URL of at most `side` pixels; None when it cannot be read."""
        key = (product_id, side)
        if key not in self._made:
            try:
                self._made[key] = _data_url(self._pixels(self._sha256[product_id]), side)
            except (PictureError, FileNotFoundError):
                self._made[key] = None
        return self._made[key]

    def figure(self, product_id: str, kind: str, caption: str) -> str:
        """A thumbnail with the product's name and a caption, which is HTML."""
        url = self.thumbnail(product_id, _SIDE)
        image = f'<img src="{url}" alt="">' if url is not None else '<span class="none"></span>'
        return (
            f'<figure class="{kind}" title="{as_text(product_id)}">{image}<figcaption>'
            f'<bdi>{self.name(product_id)}</bdi><br><span class="soft"><bdi>{caption}</bdi></span>'
            "</figcaption></figure>"
        )


def _data_url(pixels: np.ndarray, side: int) -> str:
    height, width = pixels.shape[:2]
    scale = min(1.0, side / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = np.asarray(cv2.resize(np.ascontiguousarray(pixels), size, interpolation=cv2.INTER_AREA))
    stream = io.BytesIO()
    Image.fromarray(small).save(stream, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"


def as_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are HTML already; heads are text."""
    head = "".join(f"<th>{as_text(name)}</th>" for name in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def as_interval(entry: Mapping[str, float] | None, form: str = ".3f") -> str:
    """A value with its interval, as HTML; nothing where there is none."""
    if entry is None:
        return ""
    return f'{entry["value"]:{form}} <span class="soft">{entry["low"]:{form}} to {entry["high"]:{form}}</span>'


def as_bars(entries: Sequence[tuple[object, int]]) -> str:
    """A bar for each name and count, the longest for the largest count."""
    largest = max((count for _, count in entries), default=0) or 1
    bars = (
        f'<div class="bar"><span><bdi>{as_text(name)}</bdi></span>'
        f'<i style="width:{100 * count / largest:.1f}%"></i><span>{count}</span></div>'
        for name, count in entries
    )
    return f"<div>{''.join(bars)}</div>"
