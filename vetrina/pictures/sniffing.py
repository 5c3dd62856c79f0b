"""What a picture's first bytes say it is: the format is read from the bytes, never from a name or a header.

Holds no decoding: a file that begins like a JPEG may still be broken, which only the decoder can tell.
"""

import struct

HEAD_BYTES = 4096
"""How many leading bytes are enough for every check in this module."""

_BMP_HEADER_SIZES = frozenset({12, 16, 40, 52, 56, 64, 108, 124})
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis"})
_HTML_STARTS = (b"<!doctype html", b"<html", b"<head", b"<body", b"<script", b"<meta", b"<title")
# Formats that catalogs do hold by mistake: naming them helps whoever repairs the catalog.
_OTHER_KINDS = (
    (b"%PDF-", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"8BPS", "a Photoshop file"),
    (b"\x00\x00\x01\x00", "an icon (ICO)"),
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL picture"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 picture"),
    (b"\x1f\x8b", "gzip data"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video"),
    (b"{", "JSON or other text"),
    (b"[", "JSON or other text"),
)


def sniff_picture(head: bytes) -> str | None:
    """The media type of the picture that begins with `head`, or None when it is no supported picture.

    Knows JPEG, PNG, GIF, WebP, BMP, TIFF (both byte orders, BigTIFF too) and AVIF.
    """
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if head.startswith((b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")):
        return "image/tiff"
    if _is_bmp(head):
        return "image/bmp"
    if _is_avif(head):
        return "image/avif"
    return None


def why_not_picture(head: bytes) -> tuple[str, str]:
    """A stable reason and a sentence for bytes of which `sniff_picture` said None."""
    if not head:
        return "empty", "the answer holds no bytes"
    text = _as_text(head[:HEAD_BYTES])
    if _is_svg(text):
        return "svg", "an SVG drawing; only pixel pictures can be compared"
    if text.startswith(_HTML_STARTS) or b"<html" in text[:1024]:
        return "html-instead-of-picture", "a web page came instead of a picture"
    if text.startswith(b"<"):
        return "unknown-format", "XML came instead of a picture"
    for magic, kind in _OTHER_KINDS:
        if head.startswith(magic):
            return "unknown-format", f"{kind} came instead of a supported picture"
    if head[4:8] == b"ftyp":
        brand = head[8:12].decode("ascii", "replace").strip()
        return "unknown-format", f"a media file of brand {brand!r} came instead of a supported picture"
    return "unknown-format", f"not a supported picture; it begins with {head[:8].hex(' ')}"


def _is_bmp(head: bytes) -> bool:
    """BMP's magic is two letters that also begin words, so the size of its second header must fit too."""
    if head[:2] != b"BM" or len(head) < 18:
        return False
    return struct.unpack_from("<I", head, 14)[0] in _BMP_HEADER_SIZES


def _is_avif(head: bytes) -> bool:
    """AVIF by its `ftyp` box; the generic brand mif1 counts unless a HEIC brand stands beside it."""
    if head[4:8] != b"ftyp" or len(head) < 16:
        return False
    end = min(struct.unpack_from(">I", head, 0)[0], len(head), 256)
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, end - 3, 4))]
    if b"avif" in brands or b"avis" in brands:
        return True
    return b"mif1" in brands and not _HEIC_BRANDS.intersection(brands)


def _as_text(head: bytes) -> bytes:
    """`head` in lower case without byte-order mark and leading blanks; UTF-16 becomes UTF-8."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        head = head.decode("utf-16", "replace").encode("utf-8", "replace")
    return head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()


def _is_svg(text: bytes) -> bool:
    """An `<svg` root, possibly after an XML declaration, comments or a document type."""
    if text.startswith(b"<svg"):
        return True
    return text.startswith((b"<?xml", b"<!--", b"<!doctype svg")) and b"<svg" in text and b"<html" not in text
