"""Formats are read from the bytes."""

import struct

import pytest

from vetrina.pictures.sniffing import sniff_picture, why_not_picture


def ftyp(major: bytes, *compatible: bytes) -> bytes:
    body = b"ftyp" + major + bytes(4) + b"".join(compatible)
    return struct.pack(">I", len(body) + 4) + body + bytes(32)


@pytest.mark.parametrize(
    ("head", "media"),
    [
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "image/jpeg"),
        (b"\xff\xd8\xff\xdb", "image/jpeg"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "image/png"),
        (b"GIF87a\x01\x00", "image/gif"),
        (b"GIF89a\x01\x00", "image/gif"),
        (b"RIFF\x24\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"BM" + bytes(12) + struct.pack("<I", 40) + bytes(36), "image/bmp"),
        (b"II*\x00\x08\x00\x00\x00", "image/tiff"),
        (b"MM\x00*\x00\x00\x00\x08", "image/tiff"),
        (ftyp(b"avif", b"mif1", b"miaf"), "image/avif"),
        (ftyp(b"avis", b"msf1"), "image/avif"),
        (ftyp(b"mif1", b"avif", b"heic"), "image/avif"),
        (ftyp(b"mif1", b"miaf"), "image/avif"),
    ],
)
def test_a_picture_is_known_by_its_first_bytes(head: bytes, media: str) -> None:
    assert sniff_picture(head) == media


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>", "html-instead-of-picture"),
        (b"\n\n  <HTML><head>", "html-instead-of-picture"),
        (b"\xef\xbb\xbf<!doctype html>", "html-instead-of-picture"),
        ("<html>".encode("utf-16"), "html-instead-of-picture"),
        (b"<!-- cached --><html><body><svg></svg>", "html-instead-of-picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'>", "svg"),
        (b'<?xml version="1.0"?>\n<!-- made by hand -->\n<svg>', "svg"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "unknown-format"),
        (b'{"error": "no"}', "unknown-format"),
        (b"%PDF-1.7", "unknown-format"),
        (b"BM is the beginning of a sentence", "unknown-format"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt ", "unknown-format"),
        (ftyp(b"heic", b"mif1", b"heic"), "unknown-format"),
        (ftyp(b"isom", b"mp42"), "unknown-format"),
        (b"\xff\xd8", "unknown-format"),
        (b"\x89PNG\n\x1a\n", "unknown-format"),
        (bytes(64), "unknown-format"),
    ],
)
def test_what_is_no_picture_is_named(head: bytes, reason: str) -> None:
    assert sniff_picture(head) is None
    assert why_not_picture(head)[0] == reason
