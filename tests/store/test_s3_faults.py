"""What a store on S3 does when the server fails: bounded requests, and words that say what to do."""

import dataclasses
from typing import Any

import pytest
from support import s3_server as faults
from support.s3_server import S3Server, answer

from vetrina.errors import StoreError, StoreUnavailable
from vetrina.store import Store, s3_connection
from vetrina.store.s3_connection import Patience

SECRETS = ("very-secret", "secret text")
CALLS = {
    "read": lambda store: store.read("a"),
    "open": lambda store: store.open("a"),
    "size": lambda store: store.size("a"),
    "write": lambda store: store.write("a", b"new"),
    "names": lambda store: store.names("folder"),
    "walk": lambda store: list(store.walk("folder")),
    "delete": lambda store: store.delete("b"),
}


@pytest.fixture
def store(s3: S3Server, impatient: Patience) -> Store:
    """A store that holds one file and has been used."""
    store = Store("s3://shop/p")
    store.write("a", b"content")
    assert store.create("first", b"1")
    s3.requests.clear()
    return store


def trouble(store: Store, call: str = "read") -> str:
    """What is said when the call cannot be answered; one line, and nothing that was secret."""
    with pytest.raises(StoreUnavailable) as caught:
        CALLS[call](store)
    text = str(caught.value)
    assert "\n" not in text
    assert not any(secret in text for secret in SECRETS)
    # Nothing secret hangs on it either: Dagster prints causes.
    assert caught.value.__cause__ is None
    return text


@pytest.mark.parametrize(
    "fault", [answer(500, "InternalError"), answer(503, "SlowDown"), faults.hang_up], ids=["500", "503", "hang up"]
)
def test_a_fault_that_passes_is_not_noticed(store: Store, s3: S3Server, fault: faults.Act) -> None:
    for call, do in CALLS.items():
        s3.requests.clear()
        s3.fail(fault, times=1)
        do(store)
        assert s3.count() == 2, call


def test_a_server_that_goes_on_failing_is_asked_as_often_as_agreed(
    s3: S3Server, impatient: Patience, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_connection, "PATIENCE", dataclasses.replace(impatient, failures=100))
    s3.fail(answer(503, "SlowDown"))
    store = Store("s3://shop/p")
    for call in CALLS:
        s3.requests.clear()
        text = trouble(store, call)
        assert "s3://shop" in text and "503" in text and "try later" in text
        assert s3.count() == impatient.attempts, call


def test_a_server_that_says_nothing_is_given_up(
    s3: S3Server, impatient: Patience, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_connection, "PATIENCE", dataclasses.replace(impatient, read=0.1, deadline=0.3))
    s3.fail(faults.stall)
    assert "too slow" in trouble(Store("s3://shop/p"))
    assert 1 <= s3.count() <= impatient.attempts


def test_an_answer_that_breaks_off_is_asked_for_again(store: Store, s3: S3Server) -> None:
    s3.fail(faults.cut_body, times=1, method="GET")
    assert store.read("a") == b"content"
    s3.fail(faults.cut_body, method="GET")
    assert "cannot be reached" in trouble(store)


def test_once_judged_down_a_store_is_not_asked_for_a_while(store: Store, s3: S3Server, impatient: Patience) -> None:
    s3.fail(answer(500, "InternalError"))
    for _ in range(impatient.failures):
        trouble(store)
    asked = s3.count()
    s3.heal()
    assert "not asked again for" in trouble(store)
    assert "not asked again for" in trouble(Store("s3://shop/elsewhere"))  # the same server
    assert s3.count() == asked


@pytest.mark.parametrize(
    ("status", "code", "says"),
    [
        (403, "AccessDenied", "s3:PutObject"),
        (403, "InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"),
        (403, "SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"),
        (403, "RequestTimeTooSkewed", "clock"),
        (400, "ExpiredToken", "renew"),
        (400, "AuthorizationHeaderMalformed", "AWS_DEFAULT_REGION"),
    ],
)
def test_a_refusal_says_what_to_do_and_is_not_repeated(
    store: Store, s3: S3Server, status: int, code: str, says: str
) -> None:
    s3.fail(answer(status, code))
    assert says in trouble(store)
    assert s3.count() == 1
    with pytest.raises(StoreUnavailable, match=says):
        store.create("second", b"2")


def test_a_bucket_that_is_missing_is_named(s3: S3Server, impatient: Patience) -> None:
    store = Store("s3://no-such-bucket/p")
    for call in CALLS:
        assert "no bucket s3://no-such-bucket" in trouble(store, call), call


def test_a_server_that_is_not_there(monkeypatch: pytest.MonkeyPatch, s3: S3Server, impatient: Patience) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://user:very-secret@127.0.0.1:1")
    text = trouble(Store("s3://shop/p"))
    assert "cannot be reached" in text and "127.0.0.1:1" in text and "AWS_ENDPOINT_URL" in text


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "AWS_ACCESS_KEY_ID"),
        ({"AWS_PROFILE": "nobody"}, "AWS_PROFILE"),
        ({"AWS_ENDPOINT_URL_S3": "not an address"}, "AWS_ENDPOINT_URL"),
    ],
    ids=["no credentials", "no such profile", "no address"],
)
def test_settings_that_cannot_be_used_are_named(
    monkeypatch: pytest.MonkeyPatch, s3: S3Server, impatient: Patience, variables: dict[str, str], says: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    assert says in trouble(Store("s3://shop/p"))


def test_a_bucket_with_an_impossible_name(s3: S3Server, impatient: Patience) -> None:
    assert "address of a bucket" in trouble(Store("s3://Not A Bucket/p"))
    with pytest.raises(StoreError, match="names no bucket"):
        Store("s3://")


def test_a_write_whose_answer_is_lost_is_known_by_its_content(store: Store, s3: S3Server) -> None:
    s3.fail(faults.lose_answer, times=1, method="PUT", part="mine")
    assert store.create("mine", b"by me")
    assert store.read("mine") == b"by me"


def test_a_write_of_which_every_answer_is_lost_is_known_by_its_content(store: Store, s3: S3Server) -> None:
    s3.fail(faults.lose_answer, method="PUT", part="mine")
    assert store.create("mine", b"by me")


def test_a_name_that_someone_else_took_behind_a_lost_answer_is_theirs(store: Store, s3: S3Server) -> None:
    s3.client.put_object(Bucket="shop", Key="p/theirs", Body=b"by them")
    s3.fail(faults.lose_answer, times=1, method="PUT", part="theirs")
    assert not store.create("theirs", b"by me")
    assert store.read("theirs") == b"by them"


def test_a_creation_that_never_got_through_is_no_creation(store: Store, s3: S3Server) -> None:
    s3.fail(faults.hang_up, method="PUT", part="mine")
    with pytest.raises(StoreUnavailable):
        store.create("mine", b"by me")
    s3.heal()
    assert not store.exists("mine")


def test_a_large_file_survives_lost_answers(store: Store, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vetrina.store.s3.PART", 5 << 20)
    data = bytes(range(256)) * (11 << 12)
    for method in ("POST", "PUT", "POST"):
        s3.fail(faults.lose_answer, times=1, method=method)
    with store.writing("large") as file:
        file.write_bytes(data)
    s3.heal()
    assert store.read("large") == data


@pytest.mark.parametrize("former", [bytes(11 << 20), None], ids=["replaced", "new"])
def test_a_large_file_whose_last_request_fails_is_not_taken_for_an_older_one_of_its_size(
    store: Store, s3: S3Server, monkeypatch: pytest.MonkeyPatch, former: bytes | None
) -> None:
    monkeypatch.setattr("vetrina.store.s3.PART", 5 << 20)
    if former is not None:
        with store.writing("large") as file:
            file.write_bytes(former)

    def never_complete(handler: Any) -> None:
        if "uploadId=" in handler.path:
            answer(500, "InternalError")(handler)
        else:
            handler.reply(*handler.forward())

    s3.fail(never_complete, method="POST")
    with pytest.raises(StoreUnavailable, match="500"), store.writing("large") as file:
        file.write_bytes(b"x" * (11 << 20))
    s3.heal()
    assert (store.read("large") if store.exists("large") else None) == former
    assert "Uploads" not in s3.client.list_multipart_uploads(Bucket="shop")


def test_a_large_file_that_fails_leaves_nothing_behind(
    store: Store, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vetrina.store.s3.PART", 5 << 20)
    s3.fail(answer(403, "AccessDenied"), method="PUT")
    with pytest.raises(StoreUnavailable), store.writing("large") as file:
        file.write_bytes(bytes(11 << 20))
    assert not store.exists("large")
    assert "Uploads" not in s3.client.list_multipart_uploads(Bucket="shop")


def test_a_server_that_ignores_create_only_is_refused_by_name(s3: S3Server, impatient: Patience) -> None:
    s3.fail(faults.unconditional, method="PUT")
    store = Store("s3://shop/p")
    for _ in range(2):
        with pytest.raises(StoreError, match="If-None-Match"):
            store.create("a", b"1")
    assert not store.exists("a")


def test_a_server_that_knows_no_create_only_is_refused_by_name(s3: S3Server, impatient: Patience) -> None:
    s3.fail(answer(501, "NotImplemented"), method="PUT")
    with pytest.raises(StoreError, match="If-None-Match"):
        Store("s3://shop/p").create("a", b"1")
