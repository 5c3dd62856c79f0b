"""The circuit breaker, by a clock that the test sets."""

import pytest

from vetrina.errors import StoreUnavailable
from vetrina.store.breaker import Breaker


class Clock:
    """Seconds, as set."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_only_failures_in_a_row_open_it() -> None:
    breaker = Breaker(2, rest=10, clock=Clock())
    breaker.failed(StoreUnavailable("down"))
    breaker.succeeded()
    breaker.failed(StoreUnavailable("down"))
    breaker.check()
    breaker.failed(StoreUnavailable("down again"))
    with pytest.raises(StoreUnavailable, match=r"down again.*not asked again for 10 s"):
        breaker.check()


def test_after_its_rest_one_more_failure_opens_it_again_and_one_success_closes_it() -> None:
    clock = Clock()
    breaker = Breaker(2, rest=10, clock=clock)
    for _ in range(2):
        breaker.failed(StoreUnavailable("down"))
    clock.now += 10
    breaker.check()
    breaker.failed(StoreUnavailable("down"))
    with pytest.raises(StoreUnavailable):
        breaker.check()
    clock.now += 10
    breaker.check()
    breaker.succeeded()
    breaker.failed(StoreUnavailable("down"))
    breaker.check()
