"""The command line with models of a hub, as docs/models.md describes it."""

import json
import subprocess
import sys
from pathlib import Path

from support.fault_server import FaultServer
from support.hub_server import DETECTOR, EXTRACTOR, HubServer
from support.shops import Shop, rows_of

VETRINA = str(Path(sys.executable).with_name("vetrina"))


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """`vetrina ...` in a process of its own, under the settings in force."""
    return subprocess.run([VETRINA, *map(str, arguments)], capture_output=True, text=True, timeout=180)


def test_a_catalog_is_added_with_models_that_come_by_themselves(
    hub: HubServer, shop: Shop, server: FaultServer, hub_archives: dict[str, bytes]
) -> None:
    detector, extractor = (hub.publish(path, hub_archives[path]) for path in (DETECTOR, EXTRACTOR))
    shop.set(DETECTOR=detector, EXTRACTOR=extractor)
    catalog = shop.catalog("spring", rows_of(server, ["bootie", "coffee-cup", "oak-chair"]))

    shop.set(OFFLINE="yes")
    refused = run("add", catalog)
    assert refused.returncode == 1
    assert [line for line in refused.stderr.splitlines() if line.startswith("vetrina: ")] == [
        f"vetrina: The detector {detector} is not ready on this machine: run `vetrina models`"
    ]
    assert "Traceback" not in refused.stderr and hub.requests == []

    shop.set(OFFLINE="no")
    added = run("add", catalog, "--json")
    assert added.returncode == 0, added.stderr
    assert json.loads(added.stdout)["batches"][0]["states"] == {"indexed": 3}
    assert f"Detector {detector} is ready" in added.stderr
    assert f"Model {extractor}: fetching" in added.stderr

    listed = json.loads(run("models", "--list", "--json").stdout)["models"]
    assert [(model["role"], model["handle"], model["problem"]) for model in listed] == [
        ("detector", detector, None),
        ("extractor", extractor, None),
    ]
    assert [request.path for request in hub.requests].count(HubServer.stored(EXTRACTOR)) == 1
