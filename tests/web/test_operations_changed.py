"""What who has the token changes over the API, on a shop of its own and in the order of the tests."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests
from support.fault_server import stall
from support.operated_shop import FIRST, HOSTILE, TOKEN, Operated, copied
from support.processes import wait_until
from support.web_server import running

from orchestration import retrying
from orchestration.home import home_folder
from orchestration.retrying import RetryProcesses
from orchestration.serving import ServedShop
from vetrina.index.versions import history, version_folder
from web.application import build_app
from web.shop import Options

BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def changing(operated: Operated, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    with copied(operated, tmp_path_factory.mktemp("changing") / "shop") as changing:
        yield changing


@pytest.fixture(scope="module")
def address(changing: Operated) -> Iterator[str]:
    # Nothing is looked for by itself: what shows at once shows because it was asked for.
    options = Options(token=TOKEN, refresh_seconds=3600)
    with running(build_app(ServedShop(changing.shop.deployment), options)) as address:
        yield address


def _asked(address: str, path: str) -> dict[str, Any]:
    found: dict[str, Any] = requests.get(f"{address}/api/v1/{path}", timeout=30).json()
    return found


def _post(address: str, path: str, json: Any = None, **headers: str) -> requests.Response:
    return requests.post(f"{address}/api/v1/{path}", json=json, headers={**BEARER, **headers}, timeout=60)


@pytest.mark.parametrize("path", ["retry", "rollback"])
def test_the_token_is_asked_for_and_no_other_taken(address: str, path: str) -> None:
    versions = _asked(address, "versions")["total"]
    for given in (None, f"Basic {TOKEN}", "Bearer wrong"):
        headers = {} if given is None else {"Authorization": given}
        answer = requests.post(f"{address}/api/v1/{path}", headers=headers, json={}, timeout=30)
        assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")
        assert answer.headers["www-authenticate"] == 'Bearer realm="vetrina"'
        assert "VETRINA_SERVE_TOKEN" in answer.json()["detail"]
    in_address = requests.post(f"{address}/api/v1/{path}?token={TOKEN}", json={}, timeout=30)
    assert in_address.status_code == 400  # a token has no place in an address
    assert _asked(address, "retry")["state"] == "none"
    assert _asked(address, "versions")["total"] == versions


def test_a_rollback_serves_the_version_before_at_once(address: str, changing: Operated) -> None:
    store = changing.shop.deployment.store
    newest, before = history(store)
    assert _asked(address, "similar?id=box")["index_version"] == newest.version
    done = _post(address, "rollback", {"to": None})
    assert done.status_code == 200
    assert (done.json()["version"], done.json()["restores"]) == (before.version, before.number)
    assert done.json()["shown"]["version"] == before.version
    assert _asked(address, "similar?id=box")["index_version"] == before.version
    found = _asked(address, "versions")
    assert (found["current"]["version"], found["current"]["number"]) == (before.version, 3)
    assert f"rollback from {newest.version}" in found["current"]["note"]
    assert found["shown"]["newer_than_index"] == 1  # the slippers, beside the index
    assert _asked(address, "product?id=slippers")["newer_than_index"]


def test_a_rollback_names_any_version_that_is_there(address: str, changing: Operated) -> None:
    newest = next(record for record in history(changing.shop.deployment.store) if record.number == 2)
    assert _post(address, "rollback", {"to": newest.version}).json()["shown"]["version"] == newest.version
    unknown = _post(address, "rollback", {"to": "../../etc"})
    assert unknown.status_code == 404
    assert "There is no published index version '../../etc'; there are" in unknown.json()["detail"]
    for order in ({"to": 7}, {"to": "x" * 101}, []):
        assert _post(address, "rollback", order).status_code == 400


def test_a_damaged_version_is_refused_and_the_current_goes_on(address: str, changing: Operated) -> None:
    store = changing.shop.deployment.store
    records = history(store)
    newest, oldest = records[0].version, records[-1].version
    path = f"{version_folder(oldest)}/items.parquet"
    data = store.read(path)
    store.write(path, data[:-1])
    try:
        refused = _post(address, "rollback", {"to": oldest})
    finally:
        store.write(path, data)
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:vetrina:problem:damaged")
    assert f"has {len(data) - 1} bytes where {len(data)} were published" in refused.json()["detail"]
    assert _asked(address, "similar?id=box")["index_version"] == newest


def test_a_retry_goes_on_alone_and_what_it_got_shows_at_once(address: str, changing: Operated) -> None:
    assert requests.get(f"{address}/api/v1/product", params={"id": "television"}, timeout=30).status_code == 404
    assert _asked(address, "coverage")["failed"] == 3
    changing.heal()
    begun = _post(address, "retry")  # nobody waits for its end
    assert (begun.status_code, begun.json()["state"]) == (202, "running")
    second = _post(address, "retry")
    assert second.status_code == 409
    assert "being asked for again already" in second.json()["detail"]
    assert _asked(address, "retry")["state"] == "running"
    assert set(_asked(address, "similar?id=box")) >= {"similar"}  # searches go on

    wait_until(lambda: _asked(address, "retry")["state"] != "running", {})
    found = _asked(address, "retry")
    assert (found["state"], found["error"]) == ("done", None), found
    assert found["since"] == begun.json()["since"] <= found["ended"]
    assert found["report"]["total"]["fetched"] == 2
    assert found["report"]["published"]["built"]
    for product in ("television", "teddy-bear", *FIRST):
        assert _asked(address, f"product?id={product}")["product_id"] == product
    coverage = _asked(address, "coverage")
    assert (coverage["searchable"], coverage["failed"]) == (6, 1)
    assert [row["product_id"] for row in _asked(address, "problems?reason=fetch_failed: http-404")["problems"]] == [
        HOSTILE
    ]
    assert _asked(address, "versions")["shown"]["version"] == found["report"]["published"]["version"]


def test_one_that_another_server_began_is_not_doubled_and_ends_with_that(
    address: str, changing: Operated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrying, "_GRACE", 0.5)
    changing.server.fail("/gone.png", stall())
    asked = changing.server.count("/gone.png")
    with RetryProcesses(home_folder(), lambda: None) as other:
        other.start()
        refused = _post(address, "retry")
        wait_until(lambda: changing.server.count("/gone.png") > asked, {})
    assert refused.status_code == 409
    assert "by a retry that another server began" in refused.json()["detail"]
    assert other.last is not None
    assert other.last.error == retrying._STOPPED
