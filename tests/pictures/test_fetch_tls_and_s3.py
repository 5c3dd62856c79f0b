"""Pictures over TLS and from S3, against servers on loopback."""

import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import fault_server as faults
from support.fault_server import TINY_JPEG, FaultServer, etag_of

from vetrina.pictures.fetching import Fetched, Fetcher, FetchFailed, FetchLimits, Unchanged, Validators

LIMITS = FetchLimits(attempts=2, backoff=0.001, read_timeout=5, deadline=10, max_bytes=1_000_000, allow_private=True)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost and its key, in one file."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    command = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    files = ["-addext", "subjectAltName=DNS:localhost", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    subprocess.run([openssl, *command.split(), *files], check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_text((folder / "key.pem").read_text() + (folder / "cert.pem").read_text())
    return both


@pytest.fixture
def secure(certificate: Path) -> Iterator[FaultServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with FaultServer({"/a.jpg": TINY_JPEG}, tls=context) as server:
        yield server


@pytest.fixture
def trusting(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fetcher]:
    monkeypatch.setattr("vetrina.pictures.addresses.where", lambda: str(certificate))
    with Fetcher(LIMITS) as fetcher:
        yield fetcher


def test_tls_verifies_the_name_and_keeps_the_connection(secure: FaultServer, trusting: Fetcher) -> None:
    for _ in range(3):
        outcome = trusting.fetch(secure.url("/a.jpg", host="localhost"))
        assert isinstance(outcome, Fetched)
        assert outcome.data == TINY_JPEG
    assert secure.connections == 1


def test_a_certificate_for_another_name_is_refused(secure: FaultServer, trusting: Fetcher) -> None:
    outcome = trusting.fetch(secure.url("/a.jpg", host="127.0.0.1"))
    assert isinstance(outcome, FetchFailed)
    assert (outcome.reason, outcome.transient, outcome.attempts) == ("tls", False, 1)
    assert secure.requests == []


def test_a_certificate_that_nobody_vouches_for_is_refused(secure: FaultServer) -> None:
    with Fetcher(LIMITS) as fetcher:
        outcome = fetcher.fetch(secure.url("/a.jpg", host="localhost"))
    assert isinstance(outcome, FetchFailed) and outcome.reason == "tls"


def test_a_server_that_speaks_no_tls_is_a_tls_failure(trusting: Fetcher) -> None:
    with FaultServer({"/a.jpg": TINY_JPEG}) as plain:
        outcome = trusting.fetch(plain.url("/a.jpg", host="localhost").replace("http:", "https:"))
    assert isinstance(outcome, FetchFailed) and outcome.reason == "tls"


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (faults.longer(), "short-body"),
        (faults.short(), "short-body"),
        (faults.drip(every=0.02), "deadline"),
        (faults.drip_headers(every=0.02), "deadline"),
        (faults.endless(), "too-large"),
    ],
)
def test_limits_hold_over_tls_too(
    secure: FaultServer, certificate: Path, monkeypatch: pytest.MonkeyPatch, fault: faults.Fault, reason: str
) -> None:
    monkeypatch.setattr("vetrina.pictures.addresses.where", lambda: str(certificate))
    secure.fail("/a.jpg", fault)
    deadline = 1.0 if reason == "deadline" else 10.0
    limits = FetchLimits(attempts=1, read_timeout=5, deadline=deadline, max_bytes=1_000_000, allow_private=True)
    with Fetcher(limits) as fetcher:
        outcome = fetcher.fetch(secure.url("/a.jpg", host="localhost"))
    assert isinstance(outcome, FetchFailed) and outcome.reason == reason


def test_a_redirect_from_tls_to_plain_http_is_followed(secure: FaultServer, trusting: Fetcher) -> None:
    with FaultServer({"/b.jpg": TINY_JPEG}) as plain:
        secure.fail("/a.jpg", faults.redirect(plain.url("/b.jpg")))
        assert isinstance(trusting.fetch(secure.url("/a.jpg", host="localhost")), Fetched)


NO_KEYS = b"""<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
<Name>bucket</Name><KeyCount>0</KeyCount><MaxKeys>1</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>"""


@pytest.fixture
def bucket() -> Iterator[FaultServer]:
    pictures = {
        "/bucket/a b.jpg": TINY_JPEG,
        "/bucket/huge.jpg": TINY_JPEG + bytes(1_000_000),
        "/bucket/page.jpg": b"<html>",
        "/bucket/empty.jpg": b"",
        "/bucket": NO_KEYS,
    }
    with FaultServer(pictures) as server:
        yield server


@pytest.fixture
def from_s3(bucket: FaultServer) -> Iterator[Fetcher]:
    options: dict[str, Any] = {"endpoint_url": bucket.url(""), "anon": True}
    with Fetcher(LIMITS, s3_options=options) as fetcher:
        yield fetcher


def test_a_picture_comes_from_s3_once_per_version(bucket: FaultServer, from_s3: Fetcher) -> None:
    first = from_s3.fetch("s3://bucket/a b.jpg")
    assert isinstance(first, Fetched)
    assert first.data == TINY_JPEG
    assert first.validators == Validators(etag_of(TINY_JPEG), None)
    assert isinstance(from_s3.fetch("s3://bucket/a b.jpg", first.validators), Unchanged)
    assert [request.method for request in bucket.requests] == ["HEAD", "GET", "HEAD"]


def test_what_s3_cannot_give_is_named(bucket: FaultServer, from_s3: Fetcher) -> None:
    bucket.fail("/bucket/mine.jpg", faults.status(403))
    expected = {
        "missing.jpg": ("s3-missing", False),
        "mine.jpg": ("s3-denied", False),
        "huge.jpg": ("too-large", False),
        "page.jpg": ("html-instead-of-picture", False),
        "empty.jpg": ("empty", False),
    }
    found = {}
    for name in expected:
        outcome = from_s3.fetch(f"s3://bucket/{name}")
        assert isinstance(outcome, FetchFailed)
        found[name] = (outcome.reason, outcome.transient)
    assert found == expected


def test_a_failing_s3_is_asked_again_but_only_as_often_as_agreed(bucket: FaultServer, from_s3: Fetcher) -> None:
    bucket.fail("/bucket/a b.jpg", faults.status(503, times=1))
    assert isinstance(from_s3.fetch("s3://bucket/a b.jpg"), Fetched)
    bucket.requests.clear()
    bucket.fail("/bucket/a b.jpg", faults.status(503))
    outcome = from_s3.fetch("s3://bucket/a b.jpg")
    assert isinstance(outcome, FetchFailed)
    assert (outcome.reason, outcome.transient, outcome.attempts) == ("s3-error", True, 2)
    assert bucket.count("/bucket/a b.jpg") == 2


def test_an_s3_that_says_nothing_ends_at_the_deadline(bucket: FaultServer) -> None:
    bucket.fail("/bucket/a b.jpg", faults.stall())
    impatient = FetchLimits(attempts=1, deadline=1.0, allow_private=True)
    with Fetcher(impatient, s3_options={"endpoint_url": bucket.url(""), "anon": True}) as fetcher:
        outcome = fetcher.fetch("s3://bucket/a b.jpg")
    assert isinstance(outcome, FetchFailed) and outcome.reason == "deadline"
