"""The pool of decoder processes: order, deadlines, deaths, and nothing left behind."""

import gc
import io
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vetrina.errors import PictureError
from vetrina.pictures.decoders import DecoderPool
from vetrina.pictures.decoding import DecodeLimits, Picture, decode_picture

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes through /proc")
MANY_SCANS = DecodeLimits(max_scans=10_000_000)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def shade(value: int, size: tuple[int, int] = (40, 30)) -> bytes:
    return encoded(Image.new("RGB", size, (value, value, value)), "PNG")


def slow_picture() -> bytes:
    """A progressive JPEG of 16 Mpx with 3 000 scans: minutes of work in less than a megabyte."""
    data = encoded(Image.new("L", (4000, 4000), 90), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * 3000 + data[-2:]


def processes(pool: DecoderPool) -> list[int]:
    return [decoder._process.pid for decoder in pool._decoders]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def eventually(condition: Callable[[], bool]) -> bool:
    """Waits as long as a machine on its knees may need; no test asserts how long it took."""
    for _ in range(3000):
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def refused(pool: DecoderPool, data: bytes) -> str:
    with pytest.raises(PictureError) as caught:
        pool.decode(data)
    return caught.value.reason


@pytest.fixture(scope="module")
def pool() -> Iterator[DecoderPool]:
    with DecoderPool(2) as made:
        yield made


def test_a_process_decodes_exactly_as_the_caller_would(pool: DecoderPool) -> None:
    noise = Image.fromarray(np.random.default_rng(3).integers(0, 256, (90, 120, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    for data in (
        encoded(noise, "JPEG", exif=exif),
        encoded(noise.resize((3000, 2000)), "JPEG"),
        encoded(noise.convert("RGBA"), "WEBP"),
        encoded(noise.convert("CMYK"), "TIFF"),
        encoded(noise, "AVIF"),
        encoded(noise.convert("P"), "GIF"),
    ):
        here, there = decode_picture(data), pool.decode(data)
        assert np.array_equal(here.pixels, there.pixels)
        assert (here.width, here.height, here.media) == (there.width, there.height, there.media)
        assert there.pixels.flags.c_contiguous
        assert there.pixels.flags.writeable


def test_pixels_are_the_callers_own_and_not_overwritten_by_the_next_picture() -> None:
    with DecoderPool(1) as one:
        first = one.decode(shade(10))
        one.decode(shade(200))
        assert (first.pixels == 10).all()


def test_a_process_refuses_exactly_as_the_caller_would(pool: DecoderPool) -> None:
    for data in (b"", b"no picture", shade(1)[:60], shade(1, (10, 10)), b"\xff\xd8\xff"):
        with pytest.raises(PictureError) as here:
            decode_picture(data)
        with pytest.raises(PictureError) as there:
            pool.decode(data)
        assert (here.value.reason, here.value.detail) == (there.value.reason, there.value.detail)


def test_limits_hold_in_the_processes() -> None:
    with DecoderPool(1, limits=DecodeLimits(max_pixels=1000, working_side=20)) as small:
        assert refused(small, shade(3)) == "too-many-pixels"
        assert small.decode(shade(3, (30, 30))).pixels.shape == (20, 20, 3)


def test_many_threads_may_share_a_pool(pool: DecoderPool) -> None:
    wrong: list[int] = []

    def work(start: int) -> None:
        for value in range(start, start + 15):
            if not (pool.decode(shade(value)).pixels == value).all():
                wrong.append(value)

    threads = [threading.Thread(target=work, args=(start,)) for start in range(0, 120, 15)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_results_come_in_the_order_of_the_jobs(pool: DecoderPool) -> None:
    def load(value: int) -> bytes:
        time.sleep(0.01 * (value % 3))
        return shade(value, (900, 700) if value % 4 == 0 else (20, 20))

    results = list(pool.decode_all((value, lambda value=value: load(value)) for value in range(40)))
    assert [key for key, _ in results] == list(range(40))
    assert all(isinstance(picture, Picture) and (picture.pixels == key).all() for key, picture in results)


def test_jobs_are_taken_lazily_with_a_bounded_look_ahead(pool: DecoderPool) -> None:
    taken: list[int] = []

    def jobs() -> Iterator[tuple[int, Callable[[], bytes]]]:
        for number in range(1000):
            taken.append(number)
            yield number, lambda: shade(5)

    results = pool.decode_all(jobs())
    assert taken == []
    for number in range(5):
        assert next(results)[0] == number
        assert len(taken) <= number + 1 + pool.workers * 4
    results.close()
    assert len(taken) < 20


def test_a_loader_that_finds_nothing_costs_one_picture(pool: DecoderPool) -> None:
    def missing() -> bytes:
        raise FileNotFoundError("blobs/ab/cd")

    def failed() -> bytes:
        raise PictureError("not-found", "the shop answered 404")

    jobs: list[tuple[str, Callable[[], bytes]]] = [
        ("a", lambda: shade(1)), ("b", missing), ("c", failed), ("d", lambda: b"?"), ("e", lambda: shade(2)),
    ]  # fmt: skip
    results = dict(pool.decode_all(jobs))
    assert [getattr(result, "reason", None) for result in results.values()] == [
        None, "missing-blob", "not-found", "not-a-picture", None,
    ]  # fmt: skip


def test_any_other_exception_of_a_loader_is_raised_in_its_turn(pool: DecoderPool) -> None:
    def outage() -> bytes:
        raise ConnectionError("the store is away")

    results = pool.decode_all([("a", lambda: shade(1)), ("b", outage), ("c", lambda: shade(1))])
    assert next(results)[0] == "a"
    with pytest.raises(ConnectionError, match="the store is away"):
        next(results)
    assert pool.decode(shade(9)).width == 40


def test_a_picture_that_takes_too_long_costs_only_itself() -> None:
    with DecoderPool(1, limits=MANY_SCANS, seconds=4.0) as one:
        before = processes(one)
        jobs = [("slow", slow_picture), ("next", lambda: shade(7))]
        results = dict(one.decode_all(jobs))
        assert isinstance(results["slow"], PictureError)
        assert results["slow"].reason == "too-long-to-decode"
        assert isinstance(results["next"], Picture)
        assert processes(one) != before
        assert not alive(before[0])


def test_the_same_picture_is_refused_by_its_scans_under_the_usual_limits(pool: DecoderPool) -> None:
    assert refused(pool, slow_picture()) == "too-many-scans"


def test_a_process_killed_over_a_picture_costs_only_that_picture() -> None:
    with DecoderPool(1, limits=MANY_SCANS, seconds=600) as one:
        assert one.decode(shade(1)).width == 40
        (victim,) = processes(one)
        before = _cpu_ticks(victim)

        def kill_when_busy() -> None:
            eventually(lambda: _cpu_ticks(victim) > before + 5)
            os.kill(victim, signal.SIGKILL)

        killer = threading.Thread(target=kill_when_busy)
        killer.start()
        results = dict(one.decode_all([("slow", slow_picture), ("next", lambda: shade(7))]))
        killer.join()
        assert isinstance(results["slow"], PictureError)
        assert results["slow"].reason == "too-much-memory"
        assert isinstance(results["next"], Picture)


def _cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def test_a_process_that_died_while_idle_costs_no_picture() -> None:
    with DecoderPool(2) as two:
        for _ in range(3):
            for pid in processes(two):
                os.kill(pid, signal.SIGKILL)
            assert [key for key, got in two.decode_all((n, lambda: shade(4)) for n in range(6))
                    if isinstance(got, Picture)] == list(range(6))  # fmt: skip


def test_a_picture_that_needs_more_memory_than_the_cap_is_refused() -> None:
    large = encoded(Image.new("RGB", (6000, 6000), (1, 2, 3)), "PNG", compress_level=1)
    with DecoderPool(1, memory_bytes=60 << 20) as tight:
        assert tight.decode(shade(7)).width == 40
        assert refused(tight, large) == "too-much-memory"
        assert tight.decode(shade(8)).width == 40


def test_a_picture_at_the_pixel_limit_fits_the_usual_memory() -> None:
    large = encoded(Image.new("RGBA", (7071, 7071), (9, 9, 9, 255)), "PNG", compress_level=1)
    with DecoderPool(1, seconds=600) as unhurried:
        assert (unhurried.decode(large).pixels == 9).all()


def test_closing_leaves_no_process_and_no_descriptor() -> None:
    def open_files() -> set[str]:
        return {str(entry.readlink()) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()}

    before = {name for name in open_files() if "vetrina" in name}
    for _ in range(2):
        made = DecoderPool(2)
        made.decode(shade(1))
        pids = processes(made)
        made.close()
        made.close()
        assert not any(map(alive, pids))
        with pytest.raises(RuntimeError, match="closed"):
            made.decode(shade(1))
    assert {name for name in open_files() if "vetrina" in name} == before


def test_closing_while_others_decode_ends_their_pictures() -> None:
    made = DecoderPool(1, limits=MANY_SCANS, seconds=600)
    made.decode(shade(1))
    (pid,) = processes(made)
    before, raised = _cpu_ticks(pid), []

    def work() -> None:
        try:
            made.decode(slow_picture())
        except RuntimeError as error:
            raised.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    assert eventually(lambda: _cpu_ticks(pid) > before + 5)
    made.close()
    thread.join()
    assert raised == ["the decoder pool is closed"]
    assert not alive(pid)


def test_a_forgotten_pool_takes_its_processes_along() -> None:
    made = DecoderPool(1)
    pids = processes(made)
    del made
    gc.collect()
    assert eventually(lambda: not any(map(alive, pids)))


PARENT = """
    import os, sys, threading
    from vetrina.pictures.decoders import DecoderPool
    from vetrina.pictures.decoding import DecodeLimits
    slow = open(sys.argv[1], "rb").read()
    pool = DecoderPool(2, limits=DecodeLimits(max_scans=10_000_000), seconds=3)
    threading.Thread(target=lambda: pool.decode(slow), daemon=True).start()
    print(*(decoder._process.pid for decoder in pool._decoders), flush=True)
    sys.stdin.read()
"""


def _parent(tmp_path: Path) -> tuple[subprocess.Popen[str], list[int]]:
    (tmp_path / "slow.jpg").write_bytes(slow_picture())
    # A script in a strange folder that has files named like libraries: the processes must not import them.
    for name in ("numpy.py", "json.py", "PIL.py"):
        (tmp_path / name).write_text("raise SystemExit('imported from the working folder')")
    program = textwrap.dedent(PARENT)
    parent = subprocess.Popen(
        [sys.executable, "-P", "-c", program, str(tmp_path / "slow.jpg")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        start_new_session=True, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert parent.stdout
    return parent, [int(pid) for pid in parent.stdout.readline().split()]


def test_processes_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    parent, pids = _parent(tmp_path)
    assert len(pids) == 2
    assert eventually(lambda: _cpu_ticks(pids[0]) > 0 or _cpu_ticks(pids[1]) > 0)
    parent.kill()
    parent.communicate()
    assert eventually(lambda: not any(map(alive, pids)))  # the idle one at once, the busy one at its alarm


def test_an_interrupt_from_the_terminal_prints_nothing_of_the_processes(tmp_path: Path) -> None:
    parent, pids = _parent(tmp_path)
    assert eventually(lambda: all(_cpu_ticks(pid) > 0 for pid in pids))
    os.killpg(parent.pid, signal.SIGINT)  # what Ctrl-C does: the whole foreground group
    _, errors = parent.communicate()
    assert errors.count("Traceback") <= 1  # the parent's own
    assert "decoder_process" not in errors
    assert eventually(lambda: not any(map(alive, pids)))


def test_a_process_imports_neither_tensorflow_nor_dagster_nor_pyarrow() -> None:
    program = "import sys, vetrina.pictures.decoder_process; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"tensorflow", "dagster", "pyarrow", "annoy", "requests", "ai_edge_litert"}


def test_a_process_sees_none_of_the_parents_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    with DecoderPool(1) as one:
        one.decode(shade(1))
        assert b"hunter2" not in Path(f"/proc/{processes(one)[0]}/environ").read_bytes()


def test_a_pool_without_workers_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        DecoderPool(0)
