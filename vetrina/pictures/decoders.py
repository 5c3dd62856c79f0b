"""A pool of decoder processes that can be killed, so one poisoned picture costs one product, never the run.

Each process runs `decoder_process`: it knows numpy, Pillow and OpenCV, has a memory cap, and nothing of the parent's
secrets. Requests go down a pipe as a length and the picture's bytes. Answers come up as one byte (the picture was
taken), a length and JSON; pixels come back in a nameless block of shared memory, in a third of a pipe's time. POSIX.
"""

import contextlib
import fcntl
import json
import math
import mmap
import os
import queue
import select
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

import numpy as np

from vetrina.errors import PictureError, VetrinaError
from vetrina.pictures.decoding import DEFAULT_LIMITS, DecodeLimits, Picture

K = TypeVar("K")
MISSING = "missing-blob"
"""Reason of a picture whose bytes are not in the store."""

_START_SECONDS = 120.0  # importing numpy and OpenCV takes 0.4 s; this is for a machine on its knees
_ANSWER_BYTES = 1 << 16
_PIPE_BYTES = 1 << 20
_LOOK_AHEAD = 4  # pictures per worker that may be loading, decoding or waiting for their turn
# Left to itself, glibc gives the memory of each larger picture back to the system and asks for it again: 6 000 page
# faults for one of 1600 × 1200, nearly half of its time. So a decoder keeps up to 64 MB for the next.
_MEMORY_KEPT = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(64 << 20)}
_KEPT_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME", "TMPDIR")


class _Lost(Exception):
    """The process is gone or out of step; `reason` is the picture's."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class _NotTaken(Exception):
    """The process was gone before it had the whole picture: not the picture's fault."""


class DecoderPool:
    """Decodes pictures in processes of their own; thread-safe; a context manager.

    The pixels equal those of `decode_picture` in the caller's process.
    """

    def __init__(
        self,
        workers: int = 2,
        *,
        limits: DecodeLimits = DEFAULT_LIMITS,
        seconds: float = 10.0,
        memory_bytes: int = 1 << 30,
    ) -> None:
        """Start `workers` processes (without waiting for them).

        Args:
            workers: processes, each with one thread.
            limits: see `decode_picture`.
            seconds: wall-clock time that one picture may take; then its process is killed and replaced.
            memory_bytes: address space that a process may add to what it has when idle.
        """
        if workers < 1:
            raise ValueError("a decoder pool needs at least one worker")
        self.workers = workers
        self.limits = limits
        self._decoders = [_Decoder(limits, seconds, memory_bytes) for _ in range(workers)]
        self._idle: queue.LifoQueue[_Decoder] = queue.LifoQueue()
        for decoder in self._decoders:
            self._idle.put(decoder)
        self._finalizer = weakref.finalize(self, _kill_all, self._decoders, os.getpid())

    def __enter__(self) -> "DecoderPool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def decode(self, data: bytes) -> Picture:
        """As `decode_picture`, in a process that may be killed; waits for a free one.

        Raises:
            PictureError: with the reasons of `decode_picture`, or too-long-to-decode, too-much-memory or damaged
                when the process had to be replaced.
            VetrinaError: when no decoder process can be started.
            RuntimeError: when the pool is closed.
        """
        decoder = self._idle.get()
        try:
            return decoder.decode(data)
        finally:
            self._idle.put(decoder)

    def decode_all(self, jobs: Iterable[tuple[K, Callable[[], bytes]]]) -> Iterator[tuple[K, Picture | PictureError]]:
        """Load and decode many pictures, in the order of `jobs`.

        Jobs are taken lazily, at most a few per worker ahead of what was yielded. Loaders run in this process's
        threads: a `PictureError` of theirs is yielded, a `FileNotFoundError` as reason missing-blob; anything else
        is raised in its turn.
        """
        window = self.workers * _LOOK_AHEAD
        pending: deque[tuple[K, Future[Picture | PictureError]]] = deque()
        # Twice as many threads as processes, so a process need not wait while the next picture is read.
        threads = ThreadPoolExecutor(self.workers * 2, thread_name_prefix="decode")
        try:
            for key, load in jobs:
                pending.append((key, threads.submit(self._load_and_decode, load)))
                while pending and (len(pending) >= window or pending[0][1].done()):
                    first, decoded = pending.popleft()
                    yield first, decoded.result()
            while pending:
                first, decoded = pending.popleft()
                yield first, decoded.result()
        finally:
            threads.shutdown(wait=True, cancel_futures=True)

    def _load_and_decode(self, load: Callable[[], bytes]) -> Picture | PictureError:
        try:
            return self.decode(load())
        except PictureError as error:
            return error
        except FileNotFoundError as error:
            return PictureError(MISSING, f"the picture's bytes are not in the store ({error})")

    def close(self) -> None:
        """Kill the processes and free the shared memory; a picture being decoded is given up. May be repeated."""
        if not self._finalizer.detach():
            return
        for decoder in self._decoders:
            decoder.kill()
        # Only when nobody reads them any more: the numbers of closed descriptors are given out again.
        taken = []
        with contextlib.suppress(queue.Empty):
            for _ in self._decoders:
                taken.append(self._idle.get(timeout=10))
        for decoder in taken:
            decoder.free()
            self._idle.put(decoder)  # so a late `decode` is told that the pool is closed, and does not wait


def _kill_all(decoders: list["_Decoder"], owner: int) -> None:
    """For a pool that was forgotten; a forked copy of it must not kill the original's processes."""
    if os.getpid() == owner:
        for decoder in decoders:
            decoder.kill()
            decoder.free()


class _Decoder:
    """One place in the pool: its process, replaced whenever it dies, and its block of shared memory.

    Used by one thread at a time; `kill` may come from any.
    """

    def __init__(self, limits: DecodeLimits, seconds: float, memory_bytes: int) -> None:
        self._seconds = seconds
        self._memory_bytes = memory_bytes
        self._block_file = _nameless_file(limits.working_side**2 * 3)
        self._block = mmap.mmap(self._block_file, limits.working_side**2 * 3)
        self._settings = {
            "limits": asdict(limits),
            "seconds": seconds,
            "memory_bytes": memory_bytes,
            "block_file": self._block_file,
            "parent": os.getpid(),
        }
        self._lock = threading.Lock()  # between replacing and killing
        self._closed = False
        self._start()

    def _start(self) -> None:
        command = [sys.executable, "-P", "-m", "vetrina.pictures.decoder_process", json.dumps(self._settings)]
        self._ready = False
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=_environment(),
            pass_fds=[self._block_file],
            process_group=0,  # a terminal's Ctrl-C goes to the parent alone
        )
        assert self._process.stdin and self._process.stdout
        self._down, self._up = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._down, False)
        os.set_blocking(self._up, False)
        _widen(self._down)

    def _replace(self) -> None:
        with self._lock:
            self._process.kill()
            self._process.wait()
            _close_pipes(self._process)
            if not self._closed:
                self._start()

    def kill(self) -> None:
        """Kill the process for good."""
        with self._lock:
            self._closed = True
            self._process.kill()
            self._process.wait()

    def free(self) -> None:
        """Give back descriptors and shared memory, after `kill`."""
        _close_pipes(self._process)
        with contextlib.suppress(BufferError):  # a view is still alive: freed with it
            self._block.close()
        os.close(self._block_file)

    def decode(self, data: bytes) -> Picture:
        """See `DecoderPool.decode`."""
        try:
            if not self._closed and self._process.poll() is not None:
                self._replace()  # it died while idle: that costs no picture
            try:
                return self._ask(data)
            except _NotTaken:
                self._replace()
                return self._ask(data)
        except PictureError:
            raise  # an answer like another: the process is in step
        except BaseException as error:  # KeyboardInterrupt too: a half-read answer would be the next picture's
            self._replace()
            if self._closed:
                raise RuntimeError("the decoder pool is closed") from error
            if isinstance(error, _Lost):
                raise PictureError(error.reason, error.detail) from error
            if isinstance(error, _NotTaken):
                check = f"{sys.executable} -m vetrina.pictures.decoder_process '{{}}'"
                raise VetrinaError(f"no decoder process starts ({error}); to see why, run: {check}") from error
            raise

    def _ask(self, data: bytes) -> Picture:
        if self._closed:
            raise RuntimeError("the decoder pool is closed")
        if len(data) > self._memory_bytes // 4:  # the process holds it twice, and the pixels
            raise PictureError("too-much-memory", f"the picture's {len(data):,} bytes are too many to decode")
        if not self._ready:
            self._await_ready()
        deadline = time.monotonic() + self._seconds
        self._send(struct.pack("<Q", len(data)), deadline)
        self._send(data, deadline)
        self._await_taken(deadline)
        try:
            answer = json.loads(self._receive_frame(deadline))
            if "reason" in answer:
                raise PictureError(str(answer["reason"]), str(answer["detail"]))
            height, width = answer["shape"]
            pixels = np.frombuffer(self._block, np.uint8, height * width * 3).reshape(height, width, 3).copy()
            return Picture(pixels, int(answer["width"]), int(answer["height"]), str(answer["media"]))
        except (ValueError, KeyError, TypeError) as error:
            raise _Lost("damaged", f"the decoder answered nonsense ({error})") from error

    def _await_ready(self) -> None:
        try:
            self._receive_frame(time.monotonic() + _START_SECONDS)
        except _Lost as error:
            raise _NotTaken(error.detail) from error
        self._ready = True

    def _await_taken(self, deadline: float) -> None:
        """Until the process has the whole picture: a death before that is not the picture's fault."""
        try:
            self._receive(1, deadline)
        except _Lost as error:
            if error.reason == "too-long-to-decode":
                raise
            raise _NotTaken(error.detail) from error

    def _send(self, data: bytes, deadline: float) -> None:
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(self._down, left) :]
            except BlockingIOError:
                self._wait(self._down, select.POLLOUT, deadline)
            except BrokenPipeError as error:
                raise _NotTaken("it ended while idle") from error

    def _receive_frame(self, deadline: float) -> bytes:
        (length,) = struct.unpack("<I", self._receive(4, deadline))
        if length > _ANSWER_BYTES:
            raise _Lost("damaged", "the decoder answered nonsense")
        return self._receive(length, deadline)

    def _receive(self, count: int, deadline: float) -> bytes:
        received = b""
        while len(received) < count:
            try:
                part = os.read(self._up, count - len(received))
            except BlockingIOError:
                self._wait(self._up, select.POLLIN, deadline)
                continue
            if not part:
                raise self._death()
            received += part
        return received

    def _wait(self, descriptor: int, event: int, deadline: float) -> None:
        poll = select.poll()  # not `select`, which fails from descriptor 1024 on
        poll.register(descriptor, event)
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(math.ceil(left * 1000)):
            raise _Lost("too-long-to-decode", f"the picture took more than {self._seconds:g} s to decode")

    def _death(self) -> _Lost:
        """Why the process died, as far as its exit status tells."""
        try:
            status = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return _Lost("damaged", "the decoder closed its pipe over this picture")
        if status == -signal.SIGALRM:
            return _Lost("too-long-to-decode", f"the picture took more than {self._seconds:g} s to decode")
        if status == -signal.SIGKILL:  # by Linux when memory runs out, or by a person
            return _Lost("too-much-memory", "the decoder was killed over this picture, probably for its memory")
        return _Lost("damaged", f"the decoder died over this picture (exit status {status})")


def _nameless_file(size: int) -> int:
    """A descriptor of `size` bytes of memory with no name that could be left behind."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("vetrina-pixels")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    return descriptor


def _environment() -> dict[str, str]:
    """What the process needs: the parent's import path and no secrets."""
    home = str(Path(__file__).parents[2])
    path = [entry or str(Path.cwd()) for entry in sys.path]
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return kept | threads | _MEMORY_KEPT | {"PYTHONPATH": os.pathsep.join(path if home in path else [*path, home])}


def _widen(pipe: int) -> None:
    """A larger pipe, where the system grants it: a picture then goes down in one write."""
    with contextlib.suppress(OSError, AttributeError):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def _close_pipes(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe:
            with contextlib.suppress(OSError):
                pipe.close()
