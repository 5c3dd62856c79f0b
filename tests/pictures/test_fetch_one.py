"""Fetching one picture from a server that misbehaves."""

import dataclasses
import os
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from support import fault_server as faults
from support.fault_server import LAST_MODIFIED, TINY_JPEG, Fault, FaultServer, etag_of

from vetrina.errors import SettingError
from vetrina.pictures.fetching import Fetched, Fetcher, FetchFailed, FetchLimits, Unchanged, Validators

QUICK = FetchLimits(
    attempts=3,
    backoff=0.001,
    max_backoff=5.0,
    connect_timeout=5.0,
    read_timeout=5.0,
    deadline=10.0,
    max_bytes=1_000_000,
    allow_private=True,
)
IMPATIENT = FetchLimits(attempts=2, backoff=0.001, read_timeout=5, deadline=0.6, allow_private=True)


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer({"/a.jpg": TINY_JPEG, "/b.jpg": TINY_JPEG + b"b"}) as running:
        yield running


@pytest.fixture
def fetcher() -> Iterator[Fetcher]:
    with Fetcher(QUICK) as running:
        yield running


def failure(fetcher: Fetcher, address: str, validators: Validators | None = None) -> FetchFailed:
    outcome = fetcher.fetch(address, validators)
    assert isinstance(outcome, FetchFailed)
    return outcome


def test_a_picture_arrives_whole_with_its_validators_and_its_true_media_type(
    server: FaultServer, fetcher: Fetcher
) -> None:
    outcome = fetcher.fetch(server.url("/a.jpg"))
    assert isinstance(outcome, Fetched)
    assert outcome.data == TINY_JPEG
    assert outcome.validators == Validators(etag_of(TINY_JPEG), LAST_MODIFIED)
    assert (outcome.media, outcome.attempts) == ("image/jpeg", 1)


def test_a_picture_that_did_not_change_is_not_sent_again(server: FaultServer, fetcher: Fetcher) -> None:
    for validators in (Validators(etag_of(TINY_JPEG), None), Validators(None, LAST_MODIFIED)):
        assert isinstance(fetcher.fetch(server.url("/a.jpg"), validators), Unchanged)
    assert server.requests[0].headers["if-none-match"] == etag_of(TINY_JPEG)
    assert server.requests[1].headers["if-modified-since"] == LAST_MODIFIED


def test_a_picture_that_changed_is_sent(server: FaultServer, fetcher: Fetcher) -> None:
    assert isinstance(fetcher.fetch(server.url("/a.jpg"), Validators('"former"', LAST_MODIFIED)), Fetched)


def test_validators_that_cannot_stand_in_a_header_are_not_sent(server: FaultServer, fetcher: Fetcher) -> None:
    assert isinstance(fetcher.fetch(server.url("/a.jpg"), Validators('"x"\r\nEvil: yes', "é")), Fetched)
    assert not {"evil", "if-none-match", "if-modified-since"} & server.requests[0].headers.keys()


def test_an_unasked_304_is_a_failure(server: FaultServer, fetcher: Fetcher) -> None:
    server.fail("/a.jpg", faults.status(304))
    assert failure(fetcher, server.url("/a.jpg")).reason == "http-304"


def test_one_connection_serves_many_answers(server: FaultServer, fetcher: Fetcher) -> None:
    server.fail("/moved.jpg", faults.redirect("/a.jpg"))
    for _ in range(3):
        fetcher.fetch(server.url("/a.jpg"))
        fetcher.fetch(server.url("/a.jpg"), Validators(etag_of(TINY_JPEG), None))
        fetcher.fetch(server.url("/missing.jpg"))
        fetcher.fetch(server.url("/moved.jpg"))
    assert server.connections == 1


def test_requests_carry_no_credentials_no_cookies_and_who_asks(
    server: FaultServer, fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password hush")
    monkeypatch.setenv("NETRC", str(netrc))
    server.fail("/cookie.jpg", faults.answer(TINY_JPEG, {"Set-Cookie": "track=1; Path=/"}))
    fetcher.fetch(server.url("/cookie.jpg"))
    fetcher.fetch(server.url("/a.jpg"))
    headers = server.requests[1].headers
    assert not {"authorization", "cookie"} & headers.keys()
    assert headers["user-agent"] == QUICK.user_agent


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410, 451, 204, 206])
def test_an_answer_for_good_is_not_asked_twice(server: FaultServer, fetcher: Fetcher, code: int) -> None:
    server.fail("/a.jpg", faults.status(code))
    outcome = failure(fetcher, server.url("/a.jpg"))
    assert (outcome.state, outcome.reason, outcome.transient) == ("fetch_failed", f"http-{code}", False)
    assert server.count("/a.jpg") == outcome.attempts == 1


@pytest.mark.parametrize(
    "fault",
    [
        faults.status(500, times=2),
        faults.status(503, times=2),
        faults.status(408, times=2),
        faults.status(425, times=2),
        faults.too_many("0", times=2),
        faults.too_many("nonsense", times=2),
        faults.reset(times=2),
        faults.refuse(times=2),
        faults.short(times=2),
        faults.longer(times=2),
        faults.cut_chunks(times=2),
    ],
)
def test_a_passing_fault_is_overcome_by_asking_again(server: FaultServer, fetcher: Fetcher, fault: Fault) -> None:
    server.fail("/a.jpg", Fault(fault.act, fault.times))
    outcome = fetcher.fetch(server.url("/a.jpg"))
    assert isinstance(outcome, Fetched)
    assert outcome.data == TINY_JPEG
    assert server.count("/a.jpg") == outcome.attempts == 3


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (faults.status(500), "http-500"),
        (faults.reset(), "connection"),
        (faults.refuse(), "connection"),
        (faults.short(), "short-body"),
        (faults.longer(), "short-body"),
        (faults.longer(extra=300_000), "short-body"),
        (faults.cut_chunks(), "short-body"),
    ],
)
def test_a_lasting_fault_ends_after_the_last_attempt_and_stays_transient(
    server: FaultServer, fetcher: Fetcher, fault: Fault, reason: str
) -> None:
    server.fail("/a.jpg", fault)
    outcome = failure(fetcher, server.url("/a.jpg"))
    assert (outcome.state, outcome.reason, outcome.transient) == ("fetch_failed", reason, True)
    assert server.count("/a.jpg") == outcome.attempts == 3


def test_leftovers_of_one_answer_never_begin_the_next(server: FaultServer, fetcher: Fetcher) -> None:
    server.fail("/long.jpg", faults.longer(extra=300_000))
    assert failure(fetcher, server.url("/long.jpg")).reason == "short-body"
    assert isinstance(fetcher.fetch(server.url("/a.jpg")), Fetched)


def test_retry_after_is_waited_for_between_attempts(
    server: FaultServer, fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(fetcher._closed, "wait", waited.append)
    server.fail("/a.jpg", faults.too_many("3", times=1))
    assert isinstance(fetcher.fetch(server.url("/a.jpg")), Fetched)
    server.fail("/a.jpg", faults.too_many(format_datetime(datetime.now(UTC) + timedelta(seconds=4)), times=1))
    assert isinstance(fetcher.fetch(server.url("/a.jpg")), Fetched)
    assert waited[0] == 3.0
    assert 1.0 < waited[1] <= 4.0


@pytest.mark.parametrize(
    "later",
    ["86400", format_datetime(datetime.now(UTC) + timedelta(days=1)), "9" * 400],
    ids=["seconds", "a date", "more digits than a number has"],
)
def test_a_server_that_asks_to_wait_for_hours_is_left_for_a_later_run(
    server: FaultServer, fetcher: Fetcher, later: str
) -> None:
    server.fail("/a.jpg", faults.too_many(later, times=None))
    outcome = failure(fetcher, server.url("/a.jpg"))
    assert (outcome.reason, outcome.transient, outcome.attempts) == ("retry-after-too-long", True, 1)


@pytest.mark.parametrize("fault", [faults.drip(every=0.02), faults.drip_headers(every=0.02)])
def test_a_drip_ends_at_the_deadline(server: FaultServer, fault: Fault) -> None:
    server.fail("/a.jpg", fault)
    with Fetcher(IMPATIENT) as fetcher:
        outcome = failure(fetcher, server.url("/a.jpg"))
    assert (outcome.reason, outcome.transient, outcome.attempts) == ("deadline", True, 1)


def test_a_silent_server_times_out_and_is_asked_again(server: FaultServer) -> None:
    server.fail("/a.jpg", faults.stall())
    with Fetcher(dataclasses.replace(IMPATIENT, read_timeout=0.2, deadline=10)) as fetcher:
        outcome = failure(fetcher, server.url("/a.jpg"))
    assert (outcome.reason, outcome.transient, outcome.attempts) == ("timeout", True, 2)


@pytest.mark.parametrize("fault", [faults.endless(), faults.gzip_bomb(), faults.answer(bytes(1_000_001))])
def test_a_body_beyond_the_limit_is_dropped(server: FaultServer, fetcher: Fetcher, fault: Fault) -> None:
    server.fail("/a.jpg", fault)
    outcome = failure(fetcher, server.url("/a.jpg"))
    assert (outcome.reason, outcome.transient, outcome.attempts) == ("too-large", False, 1)


def test_a_compression_bomb_costs_no_more_memory_than_the_limit(server: FaultServer, fetcher: Fetcher) -> None:
    server.fail("/a.jpg", faults.gzip_bomb(megabytes=256))
    tracemalloc.start()
    try:
        assert failure(fetcher, server.url("/a.jpg")).reason == "too-large"
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 * 2**20


def test_a_body_of_exactly_the_limit_is_taken(server: FaultServer, fetcher: Fetcher) -> None:
    server.fail("/a.jpg", faults.answer(TINY_JPEG + bytes(1_000_000 - len(TINY_JPEG))))
    assert isinstance(fetcher.fetch(server.url("/a.jpg")), Fetched)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (faults.html(), "html-instead-of-picture"),
        (faults.empty(), "empty"),
        (faults.answer(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), "svg"),
        (faults.answer(b"GIF8, they said"), "unknown-format"),
    ],
)
def test_what_is_no_picture_is_told_apart_from_what_did_not_arrive(
    server: FaultServer, fetcher: Fetcher, fault: Fault, reason: str
) -> None:
    server.fail("/a.jpg", fault)
    outcome = failure(fetcher, server.url("/a.jpg"))
    assert (outcome.state, outcome.reason, outcome.transient) == ("not_a_picture", reason, False)
    assert outcome.attempts == 1


def test_redirects_are_followed_up_to_the_limit(server: FaultServer, fetcher: Fetcher) -> None:
    for hop, code in enumerate((301, 302, 303, 307, 308)):
        server.fail(f"/{hop}", faults.redirect(f"/{hop + 1}" if hop < 4 else "b.jpg", code))
    assert isinstance(fetcher.fetch(server.url("/0")), Fetched)
    server.fail("/start", faults.redirect("/0"))
    assert failure(fetcher, server.url("/start")).reason == "too-many-redirects"


def test_a_redirect_in_a_circle_ends(server: FaultServer, fetcher: Fetcher) -> None:
    server.fail("/0", faults.redirect("/1"))
    server.fail("/1", faults.redirect("/0#again"))
    assert failure(fetcher, server.url("/0")).reason == "redirect-loop"
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "target",
    ["file:///etc/passwd", "ftp://127.0.0.1/a", "data:image/png;base64,AA", "http://u:p@127.0.0.1/", "http://["],
)
def test_a_redirect_to_anything_but_the_web_is_refused(server: FaultServer, fetcher: Fetcher, target: str) -> None:
    server.fail("/a.jpg", faults.redirect(target))
    outcome = failure(fetcher, server.url("/a.jpg"))
    assert (outcome.reason, outcome.transient) == ("bad-url", False)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "a.jpg",
        "/a.jpg",
        "http://",
        "http:///a.jpg",
        "http://[",
        "http://127.0.0.1:99999/a.jpg",
        "http://127.0.0.1:port/a.jpg",
        "http://me:pass@127.0.0.1/a.jpg",
        "http://" + "a" * 70 + ".example/a.jpg",
        "ftp://127.0.0.1/a.jpg",
        "javascript:alert(1)",
        "s3://",
        "s3://bucket",
        "file://elsewhere/a.jpg",
        "file:relative.jpg",
        "file:///a.jpg?query",
        "file:///a%00.jpg",
        "file://[",
    ],
)
def test_an_address_that_cannot_be_used_is_a_failure_and_no_exception(fetcher: Fetcher, address: str) -> None:
    outcome = failure(fetcher, address)
    assert (outcome.reason, outcome.transient, outcome.attempts) == ("bad-url", False, 1)


def test_a_closed_port_is_a_connection_failure(fetcher: Fetcher) -> None:
    with FaultServer() as gone:
        address = gone.url("/a.jpg")
    outcome = failure(fetcher, address)
    assert (outcome.reason, outcome.transient, outcome.attempts) == ("connection", True, 3)


def test_a_name_that_does_not_exist_is_a_failure_for_good(fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    outcome = failure(fetcher, "http://no-such-shop.example/a.jpg")
    assert (outcome.reason, outcome.transient, outcome.attempts) == ("dns", False, 1)


@pytest.mark.parametrize(
    "fault",
    [
        None,
        faults.status(500),
        faults.html(),
        faults.reset(),
        faults.redirect("/next?sig=hush2#hush3"),
        faults.redirect("ftp://me:hush4@127.0.0.1/?sig=hush5"),
        faults.redirect("/a.jpg?sig=hush"),
    ],
)
def test_no_message_shows_a_secret_of_the_address(server: FaultServer, fetcher: Fetcher, fault: Fault | None) -> None:
    if fault:
        server.fail("/a.jpg", fault)
    else:
        server.pictures = {}
    outcome = failure(fetcher, server.url("/a.jpg?sig=hush"))
    assert server.requests[0].query == "sig=hush"
    assert "hush" not in outcome.detail
    assert "127.0.0.1" in outcome.detail


def test_no_log_shows_a_secret_of_the_address(
    server: FaultServer, fetcher: Fetcher, caplog: pytest.LogCaptureFixture
) -> None:
    server.fail("/a.jpg", faults.odd_headers())
    with caplog.at_level("INFO"):
        fetcher.fetch(server.url("/a.jpg?sig=hush"))
    assert "/a.jpg" in caplog.text
    assert "hush" not in caplog.text


def test_a_local_file_is_read_once_per_version(tmp_path: Path, fetcher: Fetcher) -> None:
    path = tmp_path / "ä b%.jpg"
    path.write_bytes(TINY_JPEG)
    first = fetcher.fetch(path.as_uri())
    assert isinstance(first, Fetched)
    found = path.stat()
    assert first.validators == Validators(f"{found.st_size}-{found.st_mtime_ns}", None)
    assert isinstance(fetcher.fetch(path.as_uri(), first.validators), Unchanged)
    os.utime(path, ns=(1, 1))
    assert isinstance(fetcher.fetch(path.as_uri(), first.validators), Fetched)


def test_only_readable_regular_files_within_the_limit_are_read(tmp_path: Path, fetcher: Fetcher) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "huge.jpg").write_bytes(TINY_JPEG + bytes(1_000_000))
    (tmp_path / "page.jpg").write_bytes(b"<html>")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    expected = {
        "fifo": "not-a-file",
        ".": "not-a-file",
        "missing.jpg": "missing-file",
        "page.jpg/a.jpg": "missing-file",
        "huge.jpg": "too-large",
        "loop": "unreadable",
        "page.jpg": "html-instead-of-picture",
        "empty.jpg": "empty",
    }
    found = {name: failure(fetcher, f"file://{tmp_path}/{name}").reason for name in expected}
    assert found == expected
    assert failure(fetcher, "file:///dev/zero").reason == "not-a-file"


def test_reading_files_leaves_none_open(tmp_path: Path, fetcher: Fetcher) -> None:
    (tmp_path / "a.jpg").write_bytes(TINY_JPEG)
    for name in ("a.jpg", ".", "missing"):
        fetcher.fetch(f"file://{tmp_path}/{name}")
    open_files = [str(entry.readlink()) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
    assert not [name for name in open_files if name.startswith(str(tmp_path))]


def test_a_closed_fetcher_refuses_work(server: FaultServer) -> None:
    fetcher = Fetcher(QUICK)
    fetcher.close()
    with pytest.raises(RuntimeError, match="closed"):
        fetcher.fetch(server.url("/a.jpg"))


def test_limits_that_make_no_sense_are_refused() -> None:
    with pytest.raises(SettingError, match="per_host"):
        FetchLimits(per_host=0)
    with pytest.raises(SettingError, match="backoff"):
        FetchLimits(backoff=-1)
