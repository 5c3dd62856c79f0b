"""The decoder's colours, orientations, limits and refusals."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from vetrina.errors import PictureError
from vetrina.pictures.decoding import DecodeLimits, count_jpeg_scans, decode_picture

QUARTERS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220), "yellow": (230, 220, 40)}


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def quarters(width: int = 96, height: int = 64) -> Image.Image:
    """Red at the top left, then clockwise green, blue, yellow."""
    image = Image.new("RGB", (width, height))
    w, h = width // 2, height // 2
    for corner, colour in zip([(0, 0), (w, 0), (w, h), (0, h)], QUARTERS.values(), strict=True):
        image.paste(colour, (*corner, corner[0] + w, corner[1] + h))
    return image


def png(depth: int, kind: int, rows: list[bytes], *, key: bytes | None = None, size: tuple[int, int]) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, kind, 0, 0, 0))
    transparent = b"" if key is None else chunk(b"tRNS", key)
    body = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + header + transparent + body + chunk(b"IEND", b"")


def near(pixel: np.ndarray, colour: tuple[int, ...], within: int) -> bool:
    return bool(np.abs(pixel.astype(int) - colour).max() <= within)


def only(data: bytes, within: int = 0) -> tuple[int, ...]:
    """The one colour of a picture."""
    pixels = decode_picture(data).pixels
    assert np.ptp(pixels.reshape(-1, 3).astype(int), axis=0).max() <= within
    return tuple(int(value) for value in pixels[pixels.shape[0] // 2, pixels.shape[1] // 2])


def refused(data: bytes, limits: DecodeLimits | None = None) -> str:
    with pytest.raises(PictureError) as caught:
        decode_picture(data, limits or DecodeLimits())
    assert str(caught.value)
    return caught.value.reason


@pytest.mark.parametrize(
    ("kind", "options", "within"),
    [
        ("JPEG", {"quality": 95, "subsampling": 0}, 6),
        ("JPEG", {"quality": 95, "progressive": True}, 6),
        ("PNG", {}, 0),
        ("GIF", {}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("WEBP", {"quality": 95}, 12),
        ("BMP", {}, 0),
        ("TIFF", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("TIFF", {"compression": "tiff_adobe_deflate"}, 0),
        ("AVIF", {"quality": 95}, 12),
    ],
)
def test_every_format_keeps_its_colours_and_says_its_type(kind: str, options: dict, within: int) -> None:
    picture = decode_picture(encoded(quarters(), kind, **options))
    assert picture.media == f"image/{kind.lower()}"
    assert (picture.width, picture.height) == (96, 64)
    assert picture.pixels.shape == (64, 96, 3)
    assert picture.pixels.dtype == np.uint8
    assert picture.pixels.flags.c_contiguous
    for (y, x), colour in zip([(16, 24), (16, 72), (48, 72), (48, 24)], QUARTERS.values(), strict=True):
        assert near(picture.pixels[y, x], colour, within)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_comes_out_upright(kind: str, orientation: int) -> None:
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = quarters().transpose(undo[orientation]) if orientation > 1 else quarters()
    exif = Image.Exif()
    exif[0x0112] = orientation
    if kind == "TIFF":
        tags = ImageFileDirectory_v2()
        tags[274] = orientation
        data = encoded(stored, kind, tiffinfo=tags)
    else:
        data = encoded(stored, kind, exif=exif, quality=95)
    picture = decode_picture(data)
    assert (picture.width, picture.height) == (96, 64)
    assert picture.pixels.shape == (64, 96, 3)
    for (y, x), colour in zip([(16, 24), (16, 72), (48, 72), (48, 24)], QUARTERS.values(), strict=True):
        assert near(picture.pixels[y, x], colour, 14)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_a_broken_exif_block_costs_no_picture() -> None:
    data = encoded(quarters(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert decode_picture(data).pixels.shape == (64, 96, 3)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize(
    ("rgba", "shown"),
    [
        ((10, 20, 30, 0), (255, 255, 255)),
        ((10, 20, 30, 255), (10, 20, 30)),
        ((0, 100, 200, 51), (204, 224, 244)),
    ],
)
def test_alpha_is_laid_over_white(kind: str, rgba: tuple[int, ...], shown: tuple[int, ...]) -> None:
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    assert only(encoded(Image.new("RGBA", (40, 30), rgba), kind, **options)) == shown


def test_every_value_under_every_alpha_is_rounded_to_the_nearest() -> None:
    value, alpha = np.meshgrid(np.arange(256), np.arange(256))
    rgba = np.stack([value, value, value, alpha], axis=-1).astype(np.uint8)
    expected = (value * alpha + (255 - alpha) * 255 + 127) // 255
    found = decode_picture(encoded(Image.fromarray(rgba, "RGBA"), "PNG")).pixels
    assert np.array_equal(found, np.repeat(expected[..., None], 3, axis=2))


def test_grey_with_alpha_is_laid_over_white() -> None:
    assert only(encoded(Image.new("LA", (20, 20), (0, 51)), "PNG")) == (204, 204, 204)


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_transparent_palette_colour_is_white(kind: str) -> None:
    image = Image.new("P", (20, 20), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    assert only(encoded(image, kind)) == (200, 100, 50)
    assert only(encoded(image, kind, transparency=1)) == (255, 255, 255)


def test_a_palette_with_partial_alpha_is_laid_over_white() -> None:
    image = Image.new("P", (20, 20), 1)
    image.putpalette([0, 0, 0, 0, 100, 200])
    assert only(encoded(image, "PNG", transparency=bytes([255, 51]))) == (204, 224, 244)


@pytest.mark.parametrize(("depth", "value"), [(1, 0), (1, 1), (2, 1), (4, 5), (8, 77), (16, 0x1234)])
def test_the_transparent_grey_of_a_png_is_white_at_every_depth(depth: int, value: int) -> None:
    row = struct.pack(">H", value) * 16 if depth == 16 else bytes([_repeat(value, depth)]) * (16 * depth // 8)
    shade = round(value * 255 / (2**depth - 1))
    assert only(png(depth, 0, [row] * 16, size=(16, 16))) == (shade,) * 3
    assert only(png(depth, 0, [row] * 16, key=struct.pack(">H", value), size=(16, 16))) == (255,) * 3


def _repeat(value: int, depth: int) -> int:
    return sum(value << shift for shift in range(0, 8, depth))


@pytest.mark.parametrize("depth", [8, 16])
def test_the_transparent_colour_of_a_png_is_white(depth: int) -> None:
    colour = (0x12, 0x56, 0x9A) if depth == 8 else (0x1234, 0x5678, 0x9ABC)
    key = struct.pack(">HHH", *colour)
    row = (bytes(colour) if depth == 8 else key) * 16
    assert near(np.array(only(png(depth, 2, [row] * 16, size=(16, 16)))), (0x12, 0x56, 0x9A), 1)
    assert only(png(depth, 2, [row] * 16, key=key, size=(16, 16))) == (255, 255, 255)


@pytest.mark.parametrize(
    ("ink", "shown"),
    [
        ((0, 0, 0, 0), (255, 255, 255)),
        ((255, 255, 0, 0), (0, 0, 255)),
        ((0, 0, 0, 255), (0, 0, 0)),
        ((0, 128, 0, 128), (127, 63, 127)),
    ],
)
def test_cmyk_is_not_a_negative(ink: tuple[int, ...], shown: tuple[int, ...]) -> None:
    image = Image.new("CMYK", (32, 32), ink)
    assert near(np.array(only(encoded(image, "JPEG", quality=100), 2)), shown, 4)  # with Adobe's marker, inverted
    assert near(np.array(only(encoded(image, "TIFF"))), shown, 1)


@pytest.mark.parametrize(("kind", "mode"), [("PNG", "I;16"), ("TIFF", "I;16"), ("TIFF", "I;16B")])
@pytest.mark.parametrize(("value", "shade"), [(0, 0), (65535, 255), (257, 1), (128, 0), (129, 1), (30000, 117)])
def test_sixteen_bit_grey_is_divided_by_257(kind: str, mode: str, value: int, shade: int) -> None:
    assert only(encoded(Image.new(mode, (20, 20), value), kind)) == (shade,) * 3


@pytest.mark.parametrize(
    ("mode", "values", "shades"),
    [
        ("F", (0.0, 1.0), (0, 255)),
        ("F", (0.0, 200.0), (0, 200)),
        ("F", (0.0, 65535.0), (0, 255)),
        ("F", (-1.0, 1.0), (0, 255)),
        ("F", (-3e38, 3e38), (0, 255)),
        ("F", (float("nan"), 1.0), (0, 255)),
        ("I", (0, 255), (0, 255)),
        ("I", (0, 514), (0, 2)),
        ("I", (-100, 100), (0, 255)),
        ("I", (0, 2**31 - 1), (0, 255)),
    ],
)
def test_wide_greys_are_read_by_the_range_they_use(mode: str, values: tuple, shades: tuple) -> None:
    array = np.repeat(np.array(values, np.float32 if mode == "F" else np.int32), 10)[None].repeat(20, 0)
    pixels = decode_picture(encoded(Image.fromarray(array), "TIFF")).pixels
    assert (pixels[0, 0, 0], pixels[0, -1, 0]) == shades


@pytest.mark.parametrize(("mode", "value", "shown"), [("1", 1, 255), ("1", 0, 0), ("L", 93, 93)])
def test_grey_and_black_and_white_come_out_as_colours(mode: str, value: int, shown: int) -> None:
    for kind in ("PNG", "TIFF", "BMP"):
        assert only(encoded(Image.new(mode, (20, 20), value), kind)) == (shown,) * 3


def test_a_grey_jpeg_comes_out_as_three_channels() -> None:
    assert near(np.array(only(encoded(Image.new("L", (40, 40), 93), "JPEG"), 1)), (93, 93, 93), 1)


def test_lab_comes_out_as_srgb() -> None:
    data = encoded(Image.new("LAB", (20, 20), (255, 128, 128)), "TIFF")
    assert near(np.array(only(data)), (255, 255, 255), 2)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_the_first_frame_of_several_is_taken(kind: str) -> None:
    frames = [Image.new("RGB", (32, 32), colour) for colour in QUARTERS.values()]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert near(np.array(only(data, 2)), QUARTERS["red"], 6)


def test_a_camera_jpeg_with_several_pictures_is_a_jpeg() -> None:
    frames = [Image.new("RGB", (32, 32), colour) for colour in QUARTERS.values()]
    data = encoded(frames[0], "MPO", save_all=True, append_images=frames[1:], quality=95)
    assert decode_picture(data).media == "image/jpeg"
    assert near(np.array(only(data)), QUARTERS["red"], 4)


def _swapped_profile() -> bytes:
    """An sRGB profile whose red and blue primaries are exchanged: red pixels must come out blue."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace(b"rXYZ", b"tEMP", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"tEMP", b"bXYZ", 1)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "AVIF", "JPEG"])
def test_an_embedded_profile_is_followed(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {"quality": 100} if kind in {"AVIF", "JPEG"} else {}
    data = encoded(Image.new("RGB", (32, 32), (255, 0, 0)), kind, icc_profile=_swapped_profile(), **options)
    assert near(np.array(only(data, 2)), (0, 0, 255), 8)


@pytest.mark.parametrize("profile", [b"not a profile", _swapped_profile()[:300], bytes(4000)])
def test_a_broken_profile_is_left_aside(profile: bytes) -> None:
    assert only(encoded(Image.new("RGB", (32, 32), (255, 0, 0)), "PNG", icc_profile=profile)) == (255, 0, 0)


def test_a_profile_of_another_colour_space_is_left_aside() -> None:
    assert only(encoded(Image.new("L", (32, 32), 90), "PNG", icc_profile=_swapped_profile())) == (90, 90, 90)


def test_an_srgb_profile_changes_nothing() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 40, 3), dtype=np.uint8))
    assert np.array_equal(decode_picture(encoded(noise, "PNG", icc_profile=profile)).pixels, np.asarray(noise))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize(
    ("size", "shape"),
    [((400, 300), (96, 128)), ((300, 400), (128, 96)), ((129, 40), (40, 128)), ((128, 128), (128, 128)),
     ((2000, 16), (1, 128)), ((257, 300), (128, 110)), ((1024, 999), (125, 128))],
)  # fmt: skip
def test_the_longer_side_is_reduced_to_the_working_side(
    kind: str, size: tuple[int, int], shape: tuple[int, int]
) -> None:
    picture = decode_picture(encoded(quarters(*size), kind), DecodeLimits(working_side=128))
    assert picture.pixels.shape[:2] == shape
    assert (picture.width, picture.height) == size


def test_reducing_while_decoding_gives_nearly_the_picture_that_reducing_afterwards_gives() -> None:
    ramp = np.linspace(0, 255, 900)[None, :, None] * np.linspace(1, 0.2, 700)[:, None, None] * np.ones(3)
    image = Image.fromarray(ramp.astype(np.uint8))
    limits = DecodeLimits(working_side=200)
    drafted = decode_picture(encoded(image, "JPEG", quality=95), limits).pixels.astype(int)
    whole = decode_picture(encoded(image, "PNG"), limits).pixels.astype(int)
    assert np.abs(drafted - whole).max() <= 4


def test_the_same_bytes_give_the_same_pixels() -> None:
    data = encoded(quarters(700, 500), "JPEG")
    limits = DecodeLimits(working_side=200)
    assert np.array_equal(decode_picture(data, limits).pixels, decode_picture(data, limits).pixels)


def test_a_four_byte_bmp_without_alpha_values_is_opaque() -> None:
    data = bytearray(encoded(Image.new("RGBA", (20, 20), (10, 20, 30, 0)), "BMP"))
    assert only(bytes(data)) == (10, 20, 30)


def test_limits_are_checked_on_the_header() -> None:
    limits = DecodeLimits(max_pixels=10_000, max_side=200, min_side=20)
    assert refused(encoded(quarters(102, 100), "PNG"), limits) == "too-many-pixels"
    assert refused(encoded(quarters(202, 30), "PNG"), limits) == "too-many-pixels"
    assert refused(encoded(quarters(100, 18), "PNG"), limits) == "too-small"
    assert decode_picture(encoded(quarters(100, 100), "PNG"), limits).width == 100


@pytest.mark.parametrize("side", [9_000, 60_000, 2**31 - 1])
def test_a_png_of_a_few_bytes_that_claims_to_be_huge_is_refused(side: int) -> None:
    assert refused(png(8, 2, [b"\0"], size=(side, side))) == "too-many-pixels"


def test_a_small_webp_that_claims_a_huge_canvas_is_refused_before_libwebp_sees_it() -> None:
    whole = bytearray(encoded(Image.new("RGBA", (16, 16), (1, 2, 3, 4)), "WEBP", lossless=True, icc_profile=bytes(20)))
    assert whole[12:16] == b"VP8X"
    whole[24:30] = b"\xff\x3f\x00" * 2
    assert len(whole) < 300
    assert refused(bytes(whole)) == "too-many-pixels"
    lossless = encoded(Image.new("RGB", (16, 16)), "WEBP", lossless=True)
    assert refused(lossless[:21] + b"\xff\xff\xff\x0f" + lossless[25:]) == "too-many-pixels"
    lossy = encoded(Image.new("RGB", (16, 16)), "WEBP")
    assert lossy[12:16] == b"VP8 "
    assert refused(lossy[:26] + b"\xff\x3f\xff\x3f" + lossy[30:]) == "too-many-pixels"


@pytest.mark.parametrize("kind", ["GIF", "BMP"])
def test_other_headers_that_claim_to_be_huge_are_refused(kind: str) -> None:
    data = bytearray(encoded(Image.new("RGB", (16, 16)), kind))
    if kind == "GIF":
        data[6:10] = struct.pack("<HH", 65535, 65535)
    else:
        data[18:26] = struct.pack("<ii", 60000, 60000)
    assert refused(bytes(data)) == "too-many-pixels"


def many_scans(data: bytes, scans: int) -> bytes:
    """A progressive JPEG with its last scan repeated until it has `scans` of them."""
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * (scans - data.count(b"\xff\xda")) + data[-2:]


def test_a_jpeg_with_many_scans_is_refused() -> None:
    data = encoded(quarters(), "JPEG", progressive=True)
    assert decode_picture(many_scans(data, 100)).media == "image/jpeg"
    assert refused(many_scans(data, 101)) == "too-many-scans"
    assert decode_picture(many_scans(data, 101), DecodeLimits(max_scans=101)).width == 96


def test_bytes_that_look_like_scans_inside_other_segments_are_not_counted() -> None:
    comment = b"\xff\xfe" + struct.pack(">H", 2 + 2000) + b"\xff\xda" * 1000
    data = encoded(quarters(), "JPEG")
    commented = data[:2] + comment + data[2:] + b"\xff\xda" * 200
    assert count_jpeg_scans(commented, 100) == 1
    assert decode_picture(commented).width == 96
    assert count_jpeg_scans(b"\xff\xd8" + b"\xff\xda\0\2" * 500, 10) > 10


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not-a-picture"),
        (b"<html><body>404</body></html>", "not-a-picture"),
        (bytes(5000), "not-a-picture"),
        (b"%PDF-1.7 ...", "unsupported-format"),
        (b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported-format"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "unsupported-format"),
        (b"8BPS\0\x01", "unsupported-format"),
        (b"\x89PNG\r\n\x1a\n", "truncated"),
        (b"\xff\xd8\xff", "truncated"),
    ],
)
def test_what_is_no_picture_is_told_from_what_is_not_read_here(data: bytes, reason: str) -> None:
    assert refused(data) == reason


def test_a_png_with_a_wrong_checksum_is_damaged() -> None:
    data = bytearray(encoded(quarters(), "PNG"))
    data[data.index(b"IHDR") + 14] ^= 1
    assert refused(bytes(data)) == "damaged"
