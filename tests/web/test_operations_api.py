import json
import re
import shlex
import weakref
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import requests
from support.operated_shop import HOSTILE, Operated
from support.s3_server import S3Server
from support.web_server import running

from orchestration.serving import ServedShop
from vetrina.catalog.problems import set_aside
from vetrina.coverage import Coverage, CoverageReader, Excerpt
from vetrina.index.versions import current, history, version_folder
from vetrina.store import Store
from web.api import operation_models as models
from web.application import build_app
from web.operations.reports import report_page, reports_as_json
from web.operations.versions import versions_as_json
from web.shop import Options

REPORT = "evaluation-0123456789abcdef"


@pytest.fixture(scope="module")
def address(operated: Operated) -> Iterator[str]:
    shop = operated.shop
    set_aside(shop.deployment.store, "incoming/<autumn>.csv", "watch", "No column holds the id")
    options = Options(dagster_url="http://dagster.example/ui/")
    with running(build_app(ServedShop(shop.deployment), options)) as address:
        yield address


@pytest.fixture(scope="module")
def keys(operated: Operated) -> list[str]:
    """The batches' names, the newest first."""
    return [batch.key for batch in operated.shop.deployment.coverage().batches[::-1]]


def _asked(address: str, path: str, **query: Any) -> dict[str, Any]:
    answer = requests.get(f"{address}/api/v1/{path}", params=query, timeout=30)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    found: dict[str, Any] = answer.json()
    return found


def test_the_states_add_up_to_the_rows(address: str) -> None:
    found = _asked(address, "coverage")
    assert found["rows"] == sum(found["states"].values()) == 10
    assert (found["searchable"], found["failed"]) == (4, 3)
    assert (found["states"]["fetch_failed"], found["states"]["not_a_picture"], found["states"]["rejected"]) == (2, 1, 2)
    assert found["states"]["superseded"] == 1
    assert sum(found["reasons"].values()) == found["rows"] - found["searchable"]
    (aside,) = found["set_aside"]
    assert (aside["source"], aside["reason"]) == ("incoming/<autumn>.csv", "No column holds the id")


def test_every_row_that_failed_is_told_with_line_id_reason_and_detail(address: str, keys: list[str]) -> None:
    found = _asked(address, "problems")
    told = {(row["line"], row["product_id"], row["state"], row["reason"]) for row in found["problems"]}
    assert told == {
        (2, "slippers", "superseded", "duplicate-id"),
        (3, "teddy-bear", "not_a_picture", "html-instead-of-picture"),
        (4, "television", "fetch_failed", "http-500"),
        (5, HOSTILE, "fetch_failed", "http-404"),
        (6, None, "rejected", "missing-id"),
        (7, "<b>bare</b>", "rejected", "missing-picture"),
    }
    assert found["total"] == 6
    assert all(row["batch"] == keys[0] and row["detail"] for row in found["problems"])
    assert _asked(address, "problems", batch=keys[0])["total"] == 6
    assert _asked(address, "problems", batch=keys[1]) == {"problems": [], "total": 0}


def test_rows_with_problems_come_in_parts(address: str) -> None:
    whole = _asked(address, "problems")["problems"]
    parts = [_asked(address, "problems", start=start, count=4) for start in (0, 4, 8)]
    assert [row for part in parts for row in part["problems"]] == whole
    assert [len(part["problems"]) for part in parts] == [4, 2, 0]
    assert {part["total"] for part in parts} == {6}


def test_all_rows_are_read_once_for_many_questions(operated: Operated, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    of_shop = CoverageReader.shop

    def counted(self: CoverageReader, listed: Excerpt | None = None) -> Coverage:
        read.append(1)
        return of_shop(self, listed)

    monkeypatch.setattr(CoverageReader, "shop", counted)
    monkeypatch.setattr("web.operations.operations._LISTED", 2)
    monkeypatch.setattr("web.operations.operations._GOOD_FOR", 600)
    with running(build_app(ServedShop(operated.shop.deployment), Options())) as address:
        parts = [_asked(address, "problems", start=start, count=2) for start in (0, 1, 2, 3, 4, 5, 6, 1000)]
        assert len(read) == 1 + 3  # the counts, and from 0, from 2 and from 4
        _asked(address, "coverage")
        for nonsense in ("a: b", "c: d"):
            assert _asked(address, "problems", reason=nonsense)["total"] == 0
        assert len(read) == 1 + 3
    whole = [row for part in parts[:6:2] for row in part["problems"]]
    assert [part["problems"] for part in parts] == [whole[start : start + 2] for start in (0, 1, 2, 3, 4, 5, 6, 1000)]
    assert len({row["line"] for row in whole}) == 6


def test_rows_of_one_reason_can_be_asked_for(address: str) -> None:
    found = _asked(address, "problems", reason="fetch_failed: http-404")
    assert [row["product_id"] for row in found["problems"]] == [HOSTILE]
    assert found["total"] == 1
    assert _asked(address, "problems", reason="fetch_failed: http-404", start=1) == {"problems": [], "total": 1}
    assert _asked(address, "problems", reason="no such reason") == {"problems": [], "total": 0}


def test_batches_come_newest_first_and_in_parts(address: str, keys: list[str]) -> None:
    found = _asked(address, "batches")
    assert [batch["batch"] for batch in found["batches"]] == keys
    assert found["total"] == 2
    for batch in found["batches"]:
        assert batch["rows"] == sum(batch["states"].values())
    assert [batch["batch"] for batch in _asked(address, "batches", start=1, count=1)["batches"]] == keys[1:]


def test_a_batch_says_what_is_judged_of_it_and_where_it_is_in_dagster(address: str, keys: list[str]) -> None:
    found = _asked(address, "batch", id=keys[0])
    assert (found["file"], found["mode"], found["origin"], found["state"]) == ("second.csv", "delta", "command", "done")
    verdicts = {verdict["check"]: verdict for verdict in found["verdicts"]}
    assert not verdicts["coverage"]["passed"]
    assert "Only 1 of 6 new rows" in verdicts["coverage"]["message"]
    assert {"class_mix_is_usual", "neighbour_distance_is_usual"} <= verdicts.keys()
    assert found["dagster"] == {
        "partition": f"http://dagster.example/ui/assets/embeddings?view=partitions&partition={keys[0]}",
        "runs": f"http://dagster.example/ui/runs?q%5B%5D=tag%3Adagster%2Fpartition%3D{keys[0]}",
    }


def test_a_batch_that_is_not_there_is_a_problem_that_says_so(address: str) -> None:
    for path in ("batch?id=none", "problems?batch=none"):
        answer = requests.get(f"{address}/api/v1/{path}", timeout=30)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
        assert "There is no batch 'none'" in answer.json()["detail"]


def test_publications_say_which_version_is_served_and_how_good_it_is(address: str) -> None:
    found = _asked(address, "versions")
    newest, oldest = found["versions"]
    assert (newest["number"], newest["current"], newest["can_be_restored"]) == (2, True, False)
    assert (oldest["number"], oldest["current"], oldest["can_be_restored"]) == (1, False, True)
    assert found["current"] == newest
    assert (newest["index"]["products"], oldest["index"]["products"]) == (4, 3)
    assert newest["index"]["recall_lower_95"] <= newest["index"]["recall"] == 1.0
    assert {"class", "recall", "lower_95", "queries"} <= newest["index"]["classes"][0].keys()
    assert (found["shown"]["version"], found["shown"]["problem"]) == (newest["version"], None)
    assert _asked(address, "versions", start=1)["versions"] == [oldest]


def test_however_many_parts_of_the_versions_are_asked_for_few_are_kept(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Part(dict[str, Any]):
        pass

    made = []

    def listed(store: Store, start: int, count: int) -> dict[str, Any]:
        part = Part(current=None, versions=[], total=start, damaged=[])
        made.append(weakref.ref(part))
        return part

    monkeypatch.setattr("web.operations.operations.versions_as_json", listed)
    for start in range(20):
        assert _asked(address, "versions", start=start)["total"] == start
    assert len(made) == 20
    assert sum(part() is not None for part in made) <= 8


def test_a_version_without_one_of_its_files_is_not_offered(operated: Operated) -> None:
    store = operated.shop.deployment.store
    oldest = history(store)[-1]
    path = f"{version_folder(oldest.version)}/items.parquet"
    data = store.read(path)
    store.delete(path)
    try:
        found = versions_as_json(store, 1, 1)["versions"][0]
    finally:
        store.write(path, data)
    assert (found["version"], found["usable"], found["can_be_restored"]) == (oldest.version, False, False)
    assert found["problem"] == f"The file {path} is missing"
    assert found["index"] is None
    assert versions_as_json(store, 1, 1)["versions"][0]["usable"]


@pytest.fixture
def reported(operated: Operated) -> str:
    """The version that a report is on."""
    store = operated.shop.deployment.store
    now = current(store)
    assert now is not None
    figure = {"value": 0.5, "low": 0.4, "high": 0.6}
    values = {"label": "<i>kind</i>", "counts": {"queries": 7}, "map@10": figure, "macro": {"map@10": figure}}
    store.write_json(f"reports/{now.version}/{REPORT}.json", values)
    store.write(f"reports/{now.version}/{REPORT}.html", b"<!doctype html><h1>Report</h1><script>alert(1)</script>")
    return now.version


def test_a_report_is_listed_and_its_figures_are_given(address: str, reported: str) -> None:
    (found,) = _asked(address, "reports")["reports"]
    assert (found["version"], found["name"], found["label"], found["queries"]) == (reported, REPORT, "<i>kind</i>", 7)
    assert found["measures"] == {"map@10": {"value": 0.5, "low": 0.4, "high": 0.6}}
    assert _asked(address, "report", version=reported, name=REPORT)["label"] == "<i>kind</i>"


def test_the_references_command_for_a_report_works(address: str, reported: str) -> None:
    page = requests.get(f"{address}/api", timeout=30).text
    (command,) = re.findall(r"<code>curl (\S+/api/v1/report\?\S+)</code>", page)
    (asked,) = shlex.split(unescape(command))
    assert requests.get(asked, timeout=30).json()["label"] == "<i>kind</i>"


def test_the_example_of_a_report_is_one_that_can_be_listed(address: str, tmp_path: Path) -> None:
    document = requests.get(f"{address}/api/v1/openapi.json", timeout=30).json()
    answer = document["paths"]["/api/v1/report"]["get"]["responses"]["200"]
    store = Store(str(tmp_path))
    store.write_json(f"reports/{'0' * 16}/{REPORT}.json", answer["content"]["application/json"]["example"])
    store.write(f"reports/{'0' * 16}/{REPORT}.html", b"<!doctype html>")
    (found,) = reports_as_json(store, 0, 10)["reports"]
    assert (found["problem"], found["label"]) == (None, "category")
    assert found["measures"]


def test_nothing_of_a_report_can_run_or_reach_the_shop(address: str, reported: str) -> None:
    answer = requests.get(f"{address}/operations/report", params={"version": reported, "name": REPORT}, timeout=30)
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox; default-src 'none';")
    assert "script-src" not in policy and "allow" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("version", "name"), [("..", "figures"), ("0" * 16, REPORT), ("../../index", REPORT), ("figures", "x")]
)
def test_no_other_file_of_the_store_can_be_asked_for_as_a_report(address: str, version: str, name: str) -> None:
    for path in ("api/v1/report", "operations/report"):
        answer = requests.get(f"{address}/{path}", params={"version": version, "name": name}, timeout=30)
        assert answer.status_code == 404
        assert "There is no evaluation report" in answer.text


def test_a_report_whose_figures_are_lost_is_listed_as_such(operated: Operated, address: str, reported: str) -> None:
    store = operated.shop.deployment.store
    store.write(f"reports/{reported}/{REPORT}.json", b"{")
    (found,) = reports_as_json(store, 0, 10)["reports"]
    assert found["problem"] == "Its figures cannot be read; materialize the asset evaluation again"


def test_a_store_on_s3_tells_the_same(operated: Operated, reported: str, s3: S3Server) -> None:
    here, there = operated.shop.deployment.store, Store("s3://shop/copy")
    for folder in ("index", "reports"):
        for info in here.walk(folder):
            there.write(info.path, here.read(info.path))
    assert versions_as_json(there, 0, 10) == versions_as_json(here, 0, 10)
    copied, original = (reports_as_json(store, 0, 10)["reports"] for store in (there, here))
    assert [{**report, "made_at": ""} for report in copied] == [{**report, "made_at": ""} for report in original]
    assert report_page(there, reported, REPORT) == report_page(here, reported, REPORT)


def test_answers_are_what_the_document_says(address: str, reported: str, keys: list[str]) -> None:
    document = requests.get(f"{address}/api/v1/openapi.json", timeout=30).json()
    asked = {"coverage": {}, "problems": {}, "batches": {}, "batch": {"id": keys[0]}, "versions": {}, "reports": {}}
    for path, query in {**asked, "retry": {}}.items():
        answer = document["paths"][f"/api/v1/{path}"]["get"]["responses"]["200"]
        name = answer["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        found = _asked(address, path, **query)
        getattr(models, name).model_validate_json(json.dumps(found), strict=True, extra="forbid")


@pytest.mark.parametrize("path", ["retry", "rollback"])
def test_without_a_token_nothing_can_be_changed(address: str, path: str) -> None:
    for headers in ({}, {"Authorization": "Bearer "}, {"Authorization": "Bearer a-token-of-the-tests"}):
        answer = requests.post(f"{address}/api/v1/{path}", headers=headers, json={}, timeout=30)
        assert answer.status_code == 403
        assert answer.json()["detail"] == "This server has no token: set VETRINA_SERVE_TOKEN and start it again"
    assert _asked(address, "retry")["state"] == "none"
