"""One decoder process, the other side of `decoders`: reads pictures from a pipe, answers with pixels.

Started by `DecoderPool` as `python -m vetrina.pictures.decoder_process SETTINGS`, SETTINGS being JSON. It imports
numpy, Pillow and OpenCV only, and ends when its pipe is closed or its parent is gone.
"""

import contextlib
import json
import mmap
import os
import resource
import select
import signal
import struct
import sys
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import AvifImagePlugin, Image

from vetrina.errors import PictureError
from vetrina.pictures.decoding import DecodeLimits, decode_picture


def _serve(settings: dict[str, Any]) -> None:
    """Answer requests until the parent closes the pipe or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests, answers = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)  # a library that prints must not write into the answers
    cv2.setNumThreads(1)
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    warnings.simplefilter("ignore")
    warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
    limits = DecodeLimits(**settings["limits"])
    block = mmap.mmap(settings["block_file"], 0)
    os.close(settings["block_file"])
    _cap_memory(settings["memory_bytes"])
    _answer(answers, {"ready": True})
    os.dup2(null, 2)  # libtiff and libpng write there what strangers' files make them say
    while _asked(requests, settings["parent"]):
        (length,) = struct.unpack("<Q", _read_exactly(requests, 8))
        data = bytes(_read_exactly(requests, length))
        os.write(answers, b"+")  # taken: from here on a death is this picture's fault
        # Kills this process even inside C code, should the parent be gone and not keep the deadline.
        signal.setitimer(signal.ITIMER_REAL, settings["seconds"] + 5)
        answer = _decoded(data, limits, block)
        signal.setitimer(signal.ITIMER_REAL, 0)
        _answer(answers, answer)


def _decoded(data: bytes, limits: DecodeLimits, block: mmap.mmap) -> dict[str, Any]:
    """The answer to one request; pixels go into the block."""
    try:
        picture = decode_picture(data, limits)
    except PictureError as error:
        return {"reason": error.reason, "detail": error.detail[:1000]}
    np.frombuffer(block, np.uint8, picture.pixels.size)[:] = picture.pixels.reshape(-1)
    height, width = picture.pixels.shape[:2]
    return {
        "shape": [height, width],
        "width": picture.width,
        "height": picture.height,
        "media": picture.media,
    }


def _cap_memory(memory_bytes: int) -> None:
    """Limit the address space to what this process has now plus `memory_bytes`, where the system can."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    statm = Path("/proc/self/statm")
    idle = int(statm.read_text().split()[0]) * resource.getpagesize() if statm.exists() else 1 << 30
    with contextlib.suppress(ValueError, OSError):  # macOS refuses; the container's own limit is left there
        resource.setrlimit(resource.RLIMIT_AS, (idle + memory_bytes, idle + memory_bytes))


def _asked(requests: int, parent: int) -> bool:
    """Wait for a request. False when the parent is gone, even if a child of its still holds the pipe."""
    while not select.select([requests], [], [], 5)[0]:
        if os.getppid() != parent:
            return False
    return True


def _read_exactly(requests: int, count: int) -> bytearray:
    data = bytearray(count)
    view, done = memoryview(data), 0
    while done < count:
        got = os.readv(requests, [view[done:]])
        if not got:
            raise EOFError
        done += got
    return data


def _answer(answers: int, value: dict[str, Any]) -> None:
    text = json.dumps(value).encode()
    left = memoryview(struct.pack("<I", len(text)) + text)
    while left:
        left = left[os.write(answers, left) :]


if __name__ == "__main__":
    with contextlib.suppress(EOFError, BrokenPipeError):
        _serve(json.loads(sys.argv[1]))
