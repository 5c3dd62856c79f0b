"""Which addresses may be contacted, and that the one contacted is the one checked."""

import socket
from collections.abc import Callable
from typing import Any

import pytest
from support import fault_server as faults
from support.fault_server import TINY_JPEG, FaultServer

from vetrina.pictures.addresses import public_name, redact, refusal
from vetrina.pictures.fetching import Fetched, Fetcher, FetchFailed, FetchLimits

CLOSED = """
0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.100.100.200 127.0.0.1 127.255.255.254 168.63.129.16 169.254.169.254
172.16.0.1 172.31.255.255 192.0.0.192 192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1 198.51.100.7 203.0.113.9
224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
:: ::1 ::127.0.0.1 ::8.8.8.8 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:0:127.0.0.1
64:ff9b::127.0.0.1 64:ff9b::10.0.0.1 64:ff9b:1::8.8.8.8 2002:7f00:1:: 2002:a00:1:: 2002:c0a8:101::
2001:0:4136:e378:8000:63bf:f5ff:fffe 2001:db8::1 2001:2::1 2001:10::1 3fff::1 100::1 fc00::1 fd00:ec2::254
fe80::1 fe80::1%eth0 fec0::1 ff02::1 5f00::1 2001:4860::5efe:7f00:1 2001:4860::200:5efe:10.0.0.1
localhost 127.1 0x7f000001 2130706433
"""
OPEN = """
1.1.1.1 8.8.8.8 93.184.216.34 100.63.255.255 100.128.0.1 172.15.0.1 172.32.0.1 223.255.255.255
2606:4700::1111 2a00:1450:4001::200e 2001:4860:4860::8888 ::ffff:8.8.8.8 64:ff9b::8.8.8.8 2002:808:808::1
"""
LOOPBACK = """
localhost LOCALHOST localhost. 127.0.0.1 127.1 127.0.1 0x7f000001 0x7f.1 0177.0.0.1 2130706433 017700000001
0.0.0.0 0 [::1] [::] [::ffff:127.0.0.1] [::ffff:7f00:1] ①②⑦.⓪.⓪.① 127.0.0.1.
"""
GUARDED = FetchLimits(attempts=1, connect_timeout=2, read_timeout=2, deadline=5)


@pytest.mark.parametrize(
    "address",
    CLOSED.split(),
)
def test_an_address_that_is_not_global_unicast_is_refused(address: str) -> None:
    assert refusal(address)


@pytest.mark.parametrize(
    "address",
    OPEN.split(),
)
def test_a_global_address_is_allowed(address: str) -> None:
    assert refusal(address) is None


@pytest.mark.parametrize(
    "host",
    LOOPBACK.split(),
)
def test_no_spelling_of_loopback_reaches_a_server_there(host: str) -> None:
    with FaultServer({"/a.jpg": TINY_JPEG}) as server, Fetcher(GUARDED) as fetcher:
        outcome = fetcher.fetch(server.url("/a.jpg", host=host))
        assert isinstance(outcome, FetchFailed)
        # Where a system does not know a spelling at all, the name is not found, which is as good.
        assert outcome.reason in {"private-address", "dns", "bad-url"}
        assert server.connections == 0


def test_the_refusal_of_loopback_is_named_and_lasting() -> None:
    with Fetcher(GUARDED) as fetcher:
        outcome = fetcher.fetch("http://127.0.0.1:1/a.jpg?token=hush")
    assert isinstance(outcome, FetchFailed)
    assert (outcome.reason, outcome.transient, outcome.attempts) == ("private-address", False, 1)
    assert "hush" not in outcome.detail


def resolver(answers: Callable[[str], list[str]], port: int) -> Callable[..., list[Any]]:
    def getaddrinfo(host: str, _port: Any, *_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answers(host)]

    return getaddrinfo


def test_one_private_address_among_public_ones_refuses_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", resolver(lambda host: ["8.8.8.8", "10.0.0.7"], 80))
    with Fetcher(GUARDED) as fetcher:
        outcome = fetcher.fetch("http://shop.example/a.jpg")
    assert isinstance(outcome, FetchFailed) and outcome.reason == "private-address"


def test_a_redirect_into_the_private_network_is_refused_at_its_hop(monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultServer({"/secret": TINY_JPEG}) as server:
        # The first hop's loopback passes as public; everything else is judged as it is.
        monkeypatch.setattr(
            "vetrina.pictures.addresses.refusal", lambda one: None if one == "127.0.0.1" else refusal(one)
        )
        for target in ("http://127.0.0.2:{}/secret", "http://0.0.0.0:{}/secret", "http://[::1]:{}/secret"):
            server.fail("/a.jpg", faults.redirect(target.format(server.port)))
            with Fetcher(GUARDED) as fetcher:
                outcome = fetcher.fetch(server.url("/a.jpg"))
            assert isinstance(outcome, FetchFailed) and outcome.reason == "private-address"
        assert server.count("/secret") == 0


def test_a_name_that_changes_between_check_and_use_is_asked_for_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def rebinding(host: str) -> list[str]:
        asked.append(host)
        return ["8.8.8.8"] if len(asked) == 1 else ["127.0.0.1"]

    with FaultServer({"/a.jpg": TINY_JPEG}) as server:
        monkeypatch.setattr(socket, "getaddrinfo", resolver(rebinding, server.port))
        contacted: list[Any] = []

        def connect(sock: socket.socket, place: Any) -> None:
            contacted.append(place)
            raise ConnectionRefusedError

        monkeypatch.setattr("vetrina.pictures.addresses.WatchedSocket.connect", connect)
        with Fetcher(GUARDED) as fetcher:
            outcome = fetcher.fetch(f"http://rebind.example:{server.port}/a.jpg")
        assert isinstance(outcome, FetchFailed) and outcome.reason == "connection"
        assert contacted == [("8.8.8.8", server.port)]
        assert asked == ["rebind.example"]


def test_each_new_connection_is_checked_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([["8.8.8.8"], ["127.0.0.1"]])
    monkeypatch.setattr(socket, "getaddrinfo", resolver(lambda host: next(answers), 80))

    def refuse(*_: object) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr("vetrina.pictures.addresses.WatchedSocket.connect", refuse)
    with Fetcher(FetchLimits(attempts=4, backoff=0)) as fetcher:
        outcome = fetcher.fetch("http://rebind.example/a.jpg")
    assert isinstance(outcome, FetchFailed)
    assert (outcome.reason, outcome.attempts) == ("private-address", 2)


def test_a_private_address_is_fine_where_it_is_allowed() -> None:
    limits = FetchLimits(attempts=1, allow_private=True)
    with FaultServer({"/a.jpg": TINY_JPEG}) as server, Fetcher(limits) as fetcher:
        assert isinstance(fetcher.fetch(server.url("/a.jpg", host="localhost")), Fetched)


def test_proxies_of_the_environment_play_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    limits = FetchLimits(attempts=1, allow_private=True)
    with FaultServer({"/a.jpg": TINY_JPEG}) as server, Fetcher(limits) as fetcher:
        assert isinstance(fetcher.fetch(server.url("/a.jpg")), Fetched)


def test_a_message_shows_no_user_password_query_or_fragment() -> None:
    shown = redact("https://me:pass@shop.example:8443/p/a.jpg?sig=hush#frag")
    assert shown == "https://shop.example:8443/p/a.jpg"
    assert "\n" not in redact("http://shop.example/a\nb\x1b[31m")
    assert len(redact("http://shop.example/" + "a" * 5000)) < 200
    assert redact("http://[") == "(an unreadable address)"


@pytest.mark.parametrize(
    ("reference", "shown"),
    [
        ("https://me:pass@shop.example/a.jpg?sig=hush", "https://shop.example/a.jpg"),
        ("s3://bucket/spring/a.jpg", "s3://bucket/spring/a.jpg"),
        ("file:///srv/secret%20place/a%20b.jpg", "a b.jpg"),
        ("/srv/catalogs/spring.csv", "spring.csv"),
        ("spring.csv", "spring.csv"),
    ],
)
def test_strangers_see_no_more_of_a_file_than_its_name(reference: str, shown: str) -> None:
    assert public_name(reference) == shown
