import hmac
import time
from collections.abc import Callable

import pytest

from vetrina.errors import SettingError
from vetrina.settings import Settings
from web.operations import doorkeeper
from web.operations.doorkeeper import SESSION_SECONDS, Doorkeeper
from web.problems import Problem
from web.shop import Options

TOKEN = "the-token-of-this-test-öß"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets time pass."""
    passed = [0.0]

    class Time:
        time = staticmethod(lambda: time.time() + passed[0])
        monotonic = staticmethod(lambda: 1000 + passed[0])

    monkeypatch.setattr(doorkeeper, "time", Time)

    def pass_by(seconds: float) -> None:
        passed[0] += seconds

    return pass_by


def _refusal(keeper: Doorkeeper, given: bytes | None, address: str = "192.0.2.1") -> Problem:
    with pytest.raises(Problem) as raised:
        keeper.check(given, address)
    return raised.value


def test_the_token_opens_and_no_other_does() -> None:
    keeper = Doorkeeper(TOKEN)
    keeper.check(TOKEN.encode(), "192.0.2.1")
    for wrong in (b"", TOKEN.encode()[:-1], TOKEN.encode() + b"x", TOKEN.encode("latin-1")):
        found = _refusal(keeper, wrong)
        assert (found.status, found.detail) == (401, "The token is not that of VETRINA_SERVE_TOKEN")
        assert found.headers["WWW-Authenticate"] == 'Bearer realm="vetrina"'
    assert _refusal(keeper, None).status == 401


def test_without_a_token_nobody_passes_not_even_with_an_empty_one() -> None:
    keeper = Doorkeeper("")
    for given in (None, b"", b"x"):
        assert _refusal(keeper, given).status == 403
    assert not keeper.knows(keeper.session())


def test_who_guesses_waits_longer_each_time_and_nobody_else_does(clock: Callable[[float], None]) -> None:
    keeper = Doorkeeper(TOKEN)
    for _ in range(5):
        assert _refusal(keeper, b"wrong").status == 401
    waits = []
    for _ in range(9):
        found = _refusal(keeper, TOKEN.encode())
        assert (found.status, found.kind) == (429, "too-many-guesses")
        waits.append(int(found.headers["Retry-After"]))
        clock(waits[-1])
        assert _refusal(keeper, b"wrong").status == 401
    assert waits == [2, 3, 5, 9, 17, 33, 61, 61, 61]
    keeper.check(TOKEN.encode(), "192.0.2.2")
    clock(62)
    keeper.check(TOKEN.encode(), "192.0.2.1")
    assert _refusal(keeper, b"wrong").status == 401  # and begins anew


def test_wrong_guesses_are_forgotten_after_a_while(clock: Callable[[float], None]) -> None:
    keeper = Doorkeeper(TOKEN)
    for _ in range(5):
        _refusal(keeper, b"wrong")
    clock(901)
    assert [_refusal(keeper, b"wrong").status for _ in range(5)] == [401] * 5


def test_a_caller_has_one_network_of_addresses() -> None:
    keeper = Doorkeeper(TOKEN)
    for last in range(5):
        _refusal(keeper, b"wrong", f"2001:db8:1:2::{last}")
    assert _refusal(keeper, b"wrong", "2001:db8:1:2:ffff::1").status == 429
    assert _refusal(keeper, b"wrong", "2001:db8:1:3::1").status == 401


def test_callers_by_ipv4_are_told_apart_also_where_the_server_listens_by_ipv6() -> None:
    keeper = Doorkeeper(TOKEN)
    for _ in range(5):
        _refusal(keeper, b"wrong", "::ffff:192.0.2.1")
    assert _refusal(keeper, b"wrong", "192.0.2.1").status == 429
    keeper.check(TOKEN.encode(), "::ffff:192.0.2.2")


def test_addresses_that_guess_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doorkeeper, "_MOST_ADDRESSES", 3)
    keeper = Doorkeeper(TOKEN)
    for address in ("a", "b", "c", "d"):
        for _ in range(5):
            _refusal(keeper, b"wrong", address)
    assert [_refusal(keeper, b"wrong", address).status for address in ("b", "d", "a")] == [429, 429, 401]


def test_a_session_lasts_for_its_time(clock: Callable[[float], None]) -> None:
    keeper = Doorkeeper(TOKEN)
    session = keeper.session()
    assert keeper.knows(session)
    clock(SESSION_SECONDS - 2)
    assert keeper.knows(session)
    clock(3)
    assert not keeper.knows(session)


def test_a_session_is_of_one_token_and_cannot_be_made_or_lengthened() -> None:
    keeper = Doorkeeper(TOKEN)
    until, _, signature = keeper.session().partition(".")
    longer = str(int(until) + 1)
    own = hmac.new(b"guessed", f"vetrina session {longer}".encode(), "sha256").hexdigest()
    for forged in (None, "", ".", "é.é", until, f"{longer}.{signature}", f"{longer}.{own}", f"{until}.{signature}x"):
        assert not keeper.knows(forged)
    assert not Doorkeeper("another-token-of-this").knows(f"{until}.{signature}")


def test_the_token_is_not_in_what_is_printed_of_settings_and_options() -> None:
    assert TOKEN not in repr(Options(token=TOKEN)) + repr(Settings(serve_token=TOKEN))


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        (
            "VETRINA_SERVE_TOKEN",
            "guess-me",
            "VETRINA_SERVE_TOKEN is shorter than 16 characters, so it could be guessed",
        ),
        ("VETRINA_DAGSTER_URL", "javascript:alert(1)", "it must begin with http:// or https://"),
    ],
)
def test_a_token_that_could_be_guessed_and_an_address_that_is_none_are_refused(
    name: str, value: str, says: str
) -> None:
    with pytest.raises(SettingError) as raised:
        Settings.from_environment({name: value})
    assert says in str(raised.value)
    assert "guess-me" not in str(raised.value)
