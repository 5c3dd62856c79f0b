import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

from web.operations.recent import Recent


def test_an_answer_is_worked_out_once_however_many_ask() -> None:
    recent, worked = Recent(60), []

    def work() -> int:
        time.sleep(0.05)
        worked.append(1)
        return len(worked)

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda _: recent.get("key", work), range(8))) == [1] * 8
    assert recent.get("other", work) == 2


def test_an_answer_is_good_for_its_time_and_a_costly_one_for_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("web.operations.recent.time.monotonic", lambda: now[0])
    recent, worked = Recent(5, share=0.1), []

    def work(seconds: float) -> int:
        now[0] += seconds
        worked.append(1)
        return len(worked)

    assert [recent.get("quick", lambda: work(0.1)) for _ in range(2)] == [1, 1]
    now[0] += 5
    assert recent.get("quick", lambda: work(0.1)) == 2
    assert recent.get("slow", lambda: work(2)) == 3
    now[0] += 19
    assert recent.get("slow", lambda: work(2)) == 3
    now[0] += 1
    assert recent.get("slow", lambda: work(2)) == 4


def test_what_was_being_worked_out_when_all_was_forgotten_is_not_remembered() -> None:
    recent, begun, go = Recent(60), threading.Event(), threading.Event()

    def stale() -> str:
        begun.set()
        go.wait(10)
        return "stale"

    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(recent.get, "key", stale)
        assert begun.wait(10)
        recent.forget()
        assert recent.get("key", lambda: "new") == "new"
        go.set()
        assert asked.result() == "stale"
    assert recent.get("key", lambda: "newer") == "new"


def test_failures_are_not_remembered_and_put_nothing_out() -> None:
    recent = Recent(60, most=2)
    assert [recent.get(key, lambda: 1) for key in ("a", "b")] == [1, 1]
    with pytest.raises(ZeroDivisionError):
        recent.get("new", lambda: 1 // 0)
    assert recent.get("b", lambda: 2) == 1
    assert recent.get("new", lambda: 3) == 3


def test_what_was_asked_for_first_goes_first() -> None:
    recent = Recent(60, most=2)
    recent.get("a", lambda: 1)
    recent.get("b", lambda: 1)
    recent.get("c", lambda: 1)
    assert [recent.get(key, lambda: 2) for key in ("c", "b", "a")] == [1, 1, 2]


def test_what_is_no_longer_good_is_let_go_unless_it_is_being_worked_out_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("web.operations.recent.time.monotonic", lambda: now[0])

    class Value:
        pass

    recent, old, again, go = Recent(5), Value(), threading.Event(), threading.Event()
    held = weakref.ref(old)
    recent.get("old", lambda old=old: old)
    recent.get("again", lambda: 1)
    del old
    assert held() is not None
    now[0] += 5

    def work() -> int:
        again.set()
        assert go.wait(10)
        return 2

    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(recent.get, "again", work)
        assert again.wait(10)
        recent.get("new", lambda: 3)
        assert held() is None
        go.set()
        assert asked.result() == 2
    assert recent.get("again", lambda: 4) == 2
