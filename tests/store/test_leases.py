"""Turns taken on S3: given back, waited for, and taken over from a process that was killed."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading

import pytest
from support import s3_server as faults
from support.s3_server import S3Server

from vetrina.errors import StoreUnavailable
from vetrina.store import Store, lease
from vetrina.store.s3_connection import Patience


@pytest.fixture
def store(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(lease, "POLL", 0.05)
    return Store("s3://shop/p")


HOLDER = """
import sys, time
from vetrina.store import Store, lease
lease.LEASE = float(sys.argv[1])
with Store("s3://shop/p").exclusive("index"):
    print("held", flush=True)
    time.sleep(60)
"""


def holder(lease_seconds: float) -> "subprocess.Popen[str]":
    """A process that has the lease "index" by now."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(lease_seconds)], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def killed(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_a_lease_of_a_process_killed_on_this_machine_is_free_at_once(store: Store) -> None:
    with holder(lease.LEASE) as process:
        killed(process)
        with store.exclusive("index", lambda: pytest.fail("waited for the dead")):
            assert store.names("locks/index") == ["000000002.json"]


def test_a_lease_of_a_process_killed_elsewhere_is_taken_over_when_it_ends(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So long that it lasts when it is looked at, also on a machine that has just paused for seconds.
    monkeypatch.setattr(lease, "LEASE", 8.0)
    monkeypatch.setattr(lease, "_machine", lambda: "another")
    waits: list[str] = []
    with holder(8.0) as process:
        killed(process)
        with store.exclusive("index", lambda: waits.append("once")):
            assert store.names("locks/index") == ["000000002.json"]
    assert waits == ["once"]


def test_a_lease_is_renewed_for_as_long_as_its_holder_lives(
    store: Store, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "LEASE", 12.0)
    with holder(12.0) as process:
        taken = threading.Event()

        def take() -> None:
            with store.exclusive("index"):
                taken.set()

        waiter = threading.Thread(target=take)
        waiter.start()
        while s3.count("PUT", "locks/index/000000001.json") < 6:  # taken once and renewed for longer than it lasts
            assert not taken.is_set()
            threading.Event().wait(0.05)
        process.kill()
        waiter.join()
        assert taken.is_set()


def test_a_lease_given_back_is_free_at_once(store: Store, s3: S3Server) -> None:
    for _ in range(3):
        with store.exclusive("index", lambda: pytest.fail("waited for a lease that is free")):
            pass
    assert store.names("locks/index") == ["000000003.json"]


def test_an_error_inside_gives_the_lease_back(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.exclusive("index"):
        raise ZeroDivisionError
    with store.exclusive("index", lambda: pytest.fail("waited for a lease that is free")):
        pass


def test_a_lease_that_cannot_be_given_back_does_not_undo_the_work(
    store: Store, s3: S3Server, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), store.exclusive("index"):
        store.write("work", b"done")
        s3.fail(faults.answer(403, "AccessDenied"), part="locks")
    assert "could not be given back" in caplog.text
    assert store.read("work") == b"done"


def test_a_lease_is_given_back_also_to_a_store_that_was_judged_down(s3: S3Server, impatient: Patience) -> None:
    store = Store("s3://shop/p")
    with pytest.raises(StoreUnavailable), store.exclusive("index"):
        s3.fail(faults.answer(500, "InternalError"), part="p/work")
        while True:
            try:
                store.write("work", b"1")
            except StoreUnavailable as error:
                if "not asked again" in str(error):
                    raise
    record = s3.client.get_object(Bucket="shop", Key="p/locks/index/000000001.json")["Body"].read()
    assert json.loads(record)["held"] is False


def test_a_record_that_nobody_wrote_expires_like_any_other(
    store: Store, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.client.put_object(Bucket="shop", Key="p/locks/index/000000007.json", Body=b"?")
    monkeypatch.setattr(lease, "LEASE", 1.0)
    with store.exclusive("index"):
        assert store.names("locks/index") == ["000000008.json"]
