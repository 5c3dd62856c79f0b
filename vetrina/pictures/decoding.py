"""The one decoder: bytes of a stranger's picture in, upright sRGB pixels of bounded size out.

Every path (indexing, queries, evaluation, collages) decodes here, so a product and a query never differ by
their decoder. What belongs here: limits, formats, colours, orientation, the names of refusals. What does not:
downloading, deadlines and memory caps (see `decoders`), models' input sizes.
"""

import io
import re
import struct
import warnings
import zlib
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageCms,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from vetrina.errors import PictureError

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF")
# Imported by name: a format that is not registered yet would make Pillow import all of its 45 plugins.
_PLUGINS = (AvifImagePlugin, BmpImagePlugin, GifImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin)
MEDIA = {name: f"image/{name.lower()}" for name in FORMATS}

# All that Pillow, littlecms and OpenCV were seen to raise, or may raise by their code, on hostile bytes.
DECODER_ERRORS: tuple[type[Exception], ...] = (
    OSError,  # includes UnidentifiedImageError
    SyntaxError,
    ValueError,  # includes UnicodeError
    TypeError,
    AttributeError,
    AssertionError,
    LookupError,  # KeyError, IndexError
    ArithmeticError,  # OverflowError, ZeroDivisionError, FloatingPointError
    RuntimeError,  # includes NotImplementedError and RecursionError
    BufferError,
    EOFError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Warning,  # DecompressionBombWarning, and the others in a run that turns warnings into errors
    ImageCms.PyCMSError,
    cv2.error,
)

# Once, at import: changing filters per picture would race between threads. The other warnings are of broken EXIF.
warnings.filterwarnings("ignore", module=r"PIL\.")
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)

_BAND_PIXELS = 1 << 20  # converted at a time, so a 50 Mpx picture is never held three times
_ICC_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
# A JPEG marker that is neither a stuffed byte, nor a fill byte, nor a restart.
_JPEG_MARKER = re.compile(rb"\xff+([^\x00\x01\xff\xd0-\xd7])")
_MAGIC = re.compile(
    rb"\xff\xd8|\x89PNG|GIF8[79]a|RIFF....WEBP|BM|II\*\0|MM\0\*|II\+\0|MM\0\+|....ftypavi[fs]", re.DOTALL
)
_MAGIC_OTHER = re.compile(
    rb"....ftyp|\0\0\0\x0cjP  |\0\0\0\x0cJXL |\xff\x0a|\xff\x4f\xff\x51|8BPS|\0\0[\x01\x02]\0|%PDF|%!PS|P[1-7]\s|"
    rb"qoif|DDS |\x76\x2f\x31\x01|\s*<svg|\s*<\?xml.{0,2000}<svg",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What a picture may be; everything but `working_side` refuses, `working_side` only reduces.

    Attributes:
        max_pixels: width × height as the file declares it. Pillow's own alarm stays above it (89 Mpx).
        max_side: pixels of the longer side.
        min_side: pixels of the shorter side.
        max_scans: scans of a (progressive) JPEG; each costs a pass over the whole picture.
        working_side: pixels that the longer side of the decoded array has at most.
    """

    max_pixels: int = 50_000_000
    max_side: int = 20_000
    min_side: int = 16
    max_scans: int = 100
    working_side: int = 1280


DEFAULT_LIMITS = DecodeLimits()


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture.

    Attributes:
        pixels: uint8 [height, width, 3], sRGB, upright, contiguous, longest side <= `working_side`.
        width: pixels of the picture that the file declares, after orientation (not of the array).
        height: the same.
        media: the type that the bytes have, such as "image/jpeg".
    """

    pixels: np.ndarray
    width: int
    height: int
    media: str


def decode_picture(data: bytes, limits: DecodeLimits = DEFAULT_LIMITS) -> Picture:
    """The first frame of a picture: upright, in sRGB, over white, reduced to the working side.

    The same bytes and limits give the same pixels. Limits are checked on the header, before pixels are decoded.
    16-bit greys are divided by 257; 16-bit colours come from Pillow as their high byte.

    Raises:
        PictureError: with reason not-a-picture, unsupported-format, truncated, damaged, too-many-pixels,
            too-many-scans, too-small or too-much-memory.
    """
    if not data:
        raise PictureError("not-a-picture", "the picture is empty (0 bytes)")
    try:
        with _open(data, limits) as image:
            return _decode(image, data, limits)
    except DECODER_ERRORS as error:
        raise _refusal(error, data) from error


def _open(data: bytes, limits: DecodeLimits) -> ImageFile.ImageFile:
    """The picture's header, within the limits; no pixel is decoded yet."""
    stream = io.BytesIO(data)
    if data.startswith(b"\xff\xd8"):
        scans = count_jpeg_scans(data, limits.max_scans)
        if scans > limits.max_scans:
            raise PictureError(
                "too-many-scans", f"the JPEG has more than {limits.max_scans} scans: each costs a full pass"
            )
        # Not through Image.open: that looks for the further pictures of an MPO, and may stumble over them.
        image: ImageFile.ImageFile = JpegImagePlugin.JpegImageFile(stream)
    else:
        size = _webp_size(data)
        if size is not None:  # libwebp reserves the whole canvas on opening: look before
            _check_size(*size, limits)
        image = Image.open(stream, formats=FORMATS)
    try:
        _check_size(*image.size, limits)
    except PictureError:
        image.close()
        raise
    return image


def _check_size(width: int, height: int, limits: DecodeLimits) -> None:
    """Refuses pictures that are too large to decode or too small to show a product."""
    if width * height > limits.max_pixels or max(width, height) > limits.max_side:
        raise PictureError(
            "too-many-pixels",
            f"the picture is {width}×{height}; at most {limits.max_pixels:,} pixels and {limits.max_side:,} "
            "a side are decoded",
        )
    if min(width, height) < limits.min_side:
        raise PictureError("too-small", f"the picture is {width}×{height}; {limits.min_side} a side is the least")


def count_jpeg_scans(data: bytes, enough: int) -> int:
    """Scans (SOS markers) of a JPEG's first picture; stops counting at `enough` + 1."""
    if data.count(b"\xff\xda") <= enough:  # every scan has these two bytes: a fast upper bound
        return data.count(b"\xff\xda")
    scans, position = 0, 2
    while scans <= enough and (found := _JPEG_MARKER.search(data, position)):
        position, code = found.end(), found[1][0]
        if code == 0xD9:  # end of the picture; thumbnails and an MPO's further pictures do not count
            break
        if code == 0xD8:
            continue
        scans += code == 0xDA
        if len(data) < position + 2:
            break
        position += max(2, int.from_bytes(data[position : position + 2], "big"))
    return scans


def _webp_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a WebP's canvas, read from its first chunk; None when it is no WebP."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or len(data) < 30:
        return None
    kind = data[12:16]
    if kind == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _decode(image: ImageFile.ImageFile, data: bytes, limits: DecodeLimits) -> Picture:
    """Pixels of an opened picture; raises what Pillow raises."""
    width, height = image.size
    longest = max(width, height)
    if isinstance(image, JpegImagePlugin.JpegImageFile) and longest >= 2 * limits.working_side:
        # libjpeg reduces by 2, 4 or 8 while it decodes, and never below the size asked for.
        side = limits.working_side
        image.draft(None, (max(1, width * side // longest), max(1, height * side // longest)))
    image.load()
    if image.format == "PNG":
        _mend_png_key(image, data)
    pixels, mode = _flat(image)
    pixels = _reduced(pixels, limits.working_side)
    pixels = _srgb(pixels, mode, image.info.get("icc_profile"))
    orientation = _orientation(image)
    if orientation >= 5:
        width, height = height, width
    pixels = np.ascontiguousarray(_upright(pixels, orientation))
    return Picture(pixels, width, height, MEDIA[image.format or "JPEG"])


def _mend_png_key(image: Image.Image, data: bytes) -> None:
    """Scales the transparent colour of a PNG with 1, 2, 4 or 16 bits as Pillow scales its pixels, but not the key."""
    key, depth = image.info.get("transparency"), data[24] if len(data) > 24 else 8
    if isinstance(key, int) and image.mode in {"1", "L"} and depth < 8 and data[25] == 0:
        image.info["transparency"] = min(key, 255) if image.mode == "1" else key * 255 // (2**depth - 1)
    elif isinstance(key, tuple) and depth == 16:
        image.info["transparency"] = tuple(value >> 8 for value in key)


def _flat(image: Image.Image) -> tuple[np.ndarray, str]:
    """The whole picture without alpha: uint8 [h, w] and "L", [h, w, 3] and "RGB", or [h, w, 4] and "CMYK"."""
    if image.mode == "F" or image.mode.startswith("I"):
        return _flat_wide(image), "L"
    width, height = image.size
    see_through = image.has_transparency_data and image.mode != "CMYK"
    if see_through and image.format == "BMP" and image.getchannel("A").getextrema() == (0, 0):
        image, see_through = image.convert("RGB"), False  # writers that leave the fourth byte at 0
    mode = {"1": "L", "L": "L", "LA": "L", "La": "L", "CMYK": "CMYK"}.get(image.mode, "RGB")
    shape = (height, width) if mode == "L" else (height, width, len(mode))
    pixels = np.empty(shape, np.uint8)
    rows = max(1, _BAND_PIXELS // width)
    for top in range(0, height, rows):
        band = image.crop((0, top, width, min(height, top + rows)))
        if band.mode == "LAB":
            band = ImageCms.applyTransform(band, _lab_transform()) or band
        if see_through:
            band = band.convert("LA") if band.mode == "La" else band
            over = _over_white(np.asarray(band.convert("RGBA")))
            pixels[top : top + rows] = over[..., 0] if mode == "L" else over
        else:
            pixels[top : top + rows] = np.asarray(band.convert(mode))
    return pixels, mode


def _over_white(rgba: np.ndarray) -> np.ndarray:
    """uint8 [h, w, 4] laid over white: uint8 [h, w, 3], rounded to the nearest."""
    alpha = rgba[..., 3:]
    if alpha.min(initial=255) == 255:
        return rgba[..., :3]
    opacity = rgba[..., 3].astype(np.uint16)
    white = (255 - opacity) * np.uint16(255) + np.uint16(127)
    flat = np.empty((*opacity.shape, 3), np.uint8)
    for channel in range(3):  # numpy is three times slower over a last axis of three
        wide = rgba[..., channel] * opacity
        wide += white
        # x // 255 for every x that occurs (at most 65 152), without a division.
        wide += (wide >> np.uint16(8)) + np.uint16(1)
        wide >>= np.uint16(8)
        flat[..., channel] = wide
    return flat


def _flat_wide(image: Image.Image) -> np.ndarray:
    """16-bit, 32-bit and floating greys as uint8 [h, w].

    16-bit: divided by 257. Others by the range they use: 0–1 (floats), 0–255, 0–65535, else stretched to it.
    """
    values = np.asarray(image)
    if image.mode.startswith("I;16"):
        grey = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
        key = image.info.get("transparency")
        if isinstance(key, int):
            grey[values == key] = 255
        return grey
    values = np.nan_to_num(values.astype(np.float32), copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 1 and image.mode == "F":
        values *= 255
    elif low >= 0 and 255 < high <= 65535:
        values /= 257
    elif low < 0 or high > 65535:
        values = (values / 2 - low / 2) * (255 / max(high / 2 - low / 2, 1e-30))  # halves: no overflow
    return np.rint(np.clip(values, 0, 255)).astype(np.uint8)


def _reduced(pixels: np.ndarray, side: int) -> np.ndarray:
    """The picture with its longer side at most `side`, by area averaging."""
    height, width = pixels.shape[:2]
    longest = max(height, width)
    if longest <= side:
        return pixels
    size = (max(1, round(width * side / longest)), max(1, round(height * side / longest)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))


def _srgb(pixels: np.ndarray, mode: str, profile: object) -> np.ndarray:
    """uint8 [h, w, 3] in sRGB; a profile that is broken or of another colour space is left aside."""
    transform = _icc_transform(profile, mode) if isinstance(profile, bytes) and profile else None
    if transform is None and mode == "RGB":
        return pixels
    if transform is None and mode == "L":
        return np.repeat(pixels[..., None], 3, axis=2)
    image = Image.frombytes(mode, (pixels.shape[1], pixels.shape[0]), pixels.tobytes())
    done = image.convert("RGB") if transform is None else ImageCms.applyTransform(image, transform)
    return np.asarray(done)


@lru_cache(maxsize=16)
def _icc_transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From an embedded profile to sRGB (perceptual), kept because shops embed the same few.

    None when the profile is unusable, or is sRGB itself within one step (most are): that saves 25 ns a pixel.
    """
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != _ICC_SPACES[mode]:
            return None
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
        if mode == "RGB":
            steps = np.arange(0, 256, 15, dtype=np.uint8)
            colours = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(len(steps), -1, 3)
            turned = np.asarray(ImageCms.applyTransform(Image.fromarray(colours), transform))
            if np.abs(turned.astype(np.int16) - colours).max() <= 1:
                return None
        return transform
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, AttributeError):
        return None


@lru_cache(maxsize=1)
def _lab_transform() -> ImageCms.ImageCmsTransform:
    """From CIE L*a*b* (a TIFF may hold it) to sRGB."""
    return ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1–8; 1 when there is none or it cannot be read (a broken tag costs no picture)."""
    try:
        value = image.getexif().get(0x0112, 1)
    except MemoryError:
        raise
    except DECODER_ERRORS:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """The picture turned as its EXIF orientation asks; a view."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in {3, 4, 7, 8}:
        pixels = pixels[::-1]
    if orientation in {2, 3, 6, 7}:
        pixels = pixels[:, ::-1]
    return pixels


def _refusal(error: Exception, data: bytes) -> PictureError:
    """What a decoder's exception means, in one of the stable reasons."""
    said = f"{type(error).__name__}: {error}"[:300]
    if isinstance(error, MemoryError) or "insufficient memory" in said.lower():
        return PictureError("too-much-memory", "the picture needs more memory to decode than it may have")
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return PictureError("too-many-pixels", f"the picture declares too many pixels ({said})")
    if not _MAGIC.match(data):
        if _MAGIC_OTHER.match(data[:4096]):
            names = ", ".join(FORMATS)
            return PictureError("unsupported-format", f"the picture is in none of the formats read here ({names})")
        return PictureError("not-a-picture", "the bytes are not a picture")
    if "truncated" in said.lower() or isinstance(error, EOFError) or _looks_cut(data):
        return PictureError("truncated", f"the picture is cut off after {len(data):,} bytes ({said})")
    return PictureError("damaged", f"the picture cannot be decoded ({said})")


def _looks_cut(data: bytes) -> bool:
    """Whether bytes that failed to decode lack the end that their format writes."""
    if data.startswith(b"\xff\xd8"):
        return b"\xff\xd9" not in data[-1024:]
    if data.startswith(b"\x89PNG"):
        return b"IEND" not in data[-1024:]
    if data.startswith(b"GIF8"):
        return not data.rstrip(b"\0").endswith(b";")
    if data.startswith(b"RIFF"):
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    if data.startswith(b"BM"):
        return int.from_bytes(data[2:6], "little") > len(data)
    if data.startswith((b"II*\0", b"MM\0*")):  # most writers put the directory last
        return int.from_bytes(data[4:8], "little" if data.startswith(b"II") else "big") + 2 > len(data)
    return False
