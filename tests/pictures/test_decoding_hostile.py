"""Cut and altered pictures: a refusal or a picture, never another exception."""

import io
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from vetrina.errors import PictureError
from vetrina.pictures.decoding import DecodeLimits, Picture, decode_picture

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")
REASONS = {
    "not-a-picture", "unsupported-format", "truncated", "damaged", "too-many-pixels", "too-many-scans", "too-small",
    "too-much-memory",
}  # fmt: skip
# Small, so that an altered header does not make the test decode 50 million pixels.
LIMITS = DecodeLimits(max_pixels=300_000, working_side=64)
KINDS = {
    "jpeg": ("JPEG", "RGB", {}),
    "progressive": ("JPEG", "RGB", {"progressive": True}),
    "cmyk": ("JPEG", "CMYK", {}),
    "png": ("PNG", "RGBA", {}),
    "palette": ("PNG", "P", {}),
    "gif": ("GIF", "P", {}),
    "webp": ("WEBP", "RGB", {}),
    "lossless": ("WEBP", "RGBA", {"lossless": True}),
    "bmp": ("BMP", "RGB", {}),
    "tiff": ("TIFF", "RGB", {}),
    "lzw": ("TIFF", "L", {"compression": "tiff_lzw"}),
    "tiff-jpeg": ("TIFF", "RGB", {"compression": "jpeg"}),
    "avif": ("AVIF", "RGB", {}),
}


@lru_cache
def whole(name: str) -> bytes:
    kind, mode, options = KINDS[name]
    noise = np.random.default_rng(7).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((40, 30)).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    image.save(stream, kind, **options, **({"exif": exif} if kind not in {"GIF", "BMP"} else {}))
    return stream.getvalue()


def outcome(data: bytes) -> Picture | PictureError:
    try:
        picture = decode_picture(data, LIMITS)
    except PictureError as error:
        assert error.reason in REASONS
        return error
    assert picture.pixels.dtype == np.uint8
    assert picture.pixels.ndim == 3
    assert max(picture.pixels.shape[:2]) <= LIMITS.working_side
    return picture


@pytest.mark.parametrize("name", KINDS)
def test_a_picture_cut_at_any_byte_is_refused_or_whole(name: str) -> None:
    data = whole(name)
    entire = outcome(data)
    assert isinstance(entire, Picture)
    step = max(1, len(data) // 400)
    reasons = set()
    for length in range(0, len(data), step):
        result = outcome(data[:length])
        if isinstance(result, Picture):  # only bytes that carry no pixels were cut off
            assert result.pixels.shape[2] == 3
        else:
            reasons.add(result.reason)
    assert "truncated" in reasons


@pytest.mark.parametrize("name", ["jpeg", "progressive", "cmyk", "png", "palette", "gif", "webp", "lossless", "bmp"])
def test_a_picture_that_lost_its_second_half_is_called_truncated(name: str) -> None:
    result = outcome(whole(name)[: len(whole(name)) * 3 // 4])
    assert isinstance(result, PictureError)
    assert result.reason == "truncated"


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8), cut=st.floats(0, 1))
def test_altered_bytes_are_refused_or_decoded(name: str, changes: list[tuple[float, int]], cut: float) -> None:
    data = bytearray(whole(name))
    for place, value in changes:
        # Squared: more of the changes fall into the headers.
        data[min(len(data) - 1, int(place * place * len(data)))] = value
    outcome(bytes(data))
    middle = int(cut * len(data))
    outcome(bytes(data[:middle] + data[middle + 3 :]))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(sorted(KINDS)), st.integers(2, 40))
def test_noise_behind_a_true_beginning_is_refused_or_decoded(noise: bytes, name: str, kept: int) -> None:
    outcome(whole(name)[:kept] + noise)
