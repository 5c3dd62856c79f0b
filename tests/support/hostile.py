"""Pictures that cannot be used, each in its own way."""

import io
import struct
import zlib

from PIL import Image


def jpeg(picture: bytes, **options: object) -> bytes:
    """A picture again, as a JPEG."""
    stream = io.BytesIO()
    Image.open(io.BytesIO(picture)).convert("RGB").save(stream, "JPEG", **options)
    return stream.getvalue()


def truncated_jpeg(picture: bytes) -> bytes:
    """A JPEG of which only the first half came."""
    data = jpeg(picture)
    return data[: len(data) // 2]


def many_scans(picture: bytes, scans: int = 200) -> bytes:
    """A progressive JPEG whose last scan is repeated; each scan costs a decoder a pass over the whole picture."""
    data = jpeg(picture, progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * (scans - data.count(b"\xff\xda")) + data[-2:]


def png_bomb(side: int = 60_000) -> bytes:
    """A PNG of a few bytes that declares `side` × `side` pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(1000))
    chunks = ((b"IHDR", header), (b"IDAT", body), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def tiny_png(side: int = 4) -> bytes:
    """A sound picture with too few pixels to say anything."""
    stream = io.BytesIO()
    Image.new("RGB", (side, side), (200, 30, 30)).save(stream, "PNG")
    return stream.getvalue()


def blank_png(side: int = 128) -> bytes:
    """A sound picture with nothing on it."""
    stream = io.BytesIO()
    Image.new("RGB", (side, side), (250, 250, 250)).save(stream, "PNG")
    return stream.getvalue()


def page_and_jpeg(picture: bytes) -> bytes:
    """A JPEG that is a web page with a script as well, to whoever takes it for one."""
    data = jpeg(picture)
    page = b"<!DOCTYPE html><html><body><script>alert('polyglot')</script></body></html>"
    return data[:2] + b"\xff\xfe" + struct.pack(">H", len(page) + 2) + page + data[2:]
