"""The server's image and compose file: what can be checked of them without a container."""

import dataclasses
import json
import re
import subprocess
import sys
from typing import Any

import typer
import yaml
from support.processes import REPOSITORY

from orchestration.cli import app
from vetrina.settings import Settings

DOCKERFILE = (REPOSITORY / "deploy" / "server.Dockerfile").read_text().replace("\\\n", " ")
SERVER: dict[str, Any] = yaml.safe_load((REPOSITORY / "deploy" / "compose.yaml").read_text())["services"]["server"]
FINAL = DOCKERFILE.rpartition("\nFROM ")[2]


def _listed(instruction: str) -> list[str]:
    """The JSON list that an instruction of the final image has."""
    found = re.findall(rf"^{instruction}\b[^\[\n]*(\[.*\])$", FINAL, re.MULTILINE)
    assert len(found) == 1, instruction
    listed: list[str] = json.loads(found[0])
    return listed


def _options(arguments: list[str]) -> dict[str, Any]:
    """What `vetrina` understands of a command line."""
    program, verb, *rest = arguments
    assert program == "vetrina"
    group: Any = typer.main.get_command(app)
    parsed: dict[str, Any] = group.commands[verb].make_context(verb, rest).params
    return parsed


def test_the_image_runs_the_server_without_privileges_and_without_a_compiler() -> None:
    assert re.search(r"^USER [1-9]\d+$", FINAL, re.MULTILINE)
    assert "apt-get" not in FINAL
    assert FINAL.startswith("python:3.11-slim-bookworm\n")
    assert _options(_listed("ENTRYPOINT"))["host"] == "0.0.0.0"


def test_the_command_of_compose_is_understood() -> None:
    assert _options(_listed("ENTRYPOINT") + SERVER["command"])["log"] == "requests"


def test_only_settings_that_exist_are_set() -> None:
    known = {field.metadata["env"] for field in dataclasses.fields(Settings)} | {"VETRINA_MODELS"}
    named = set(re.findall(r"\b(VETRINA_[A-Z_]+)=", FINAL)) | set(SERVER["environment"])
    assert "VETRINA_STORE" in named
    assert named <= known


def test_the_health_check_tells_a_server_that_lives(served: str) -> None:
    port = _options(_listed("ENTRYPOINT"))["port"]
    (check,) = re.findall(r"CMD (\[.*\])$", FINAL, re.MULTILINE)
    program, *rest = json.loads(check)
    assert program == "python"
    assert f"127.0.0.1:{port}/" in rest[1]
    there = rest[1].replace(f"http://127.0.0.1:{port}", served)
    assert subprocess.run([sys.executable, rest[0], there], timeout=60).returncode == 0
    gone = rest[1].replace(f":{port}", ":9")
    assert subprocess.run([sys.executable, rest[0], gone], timeout=60, stderr=subprocess.DEVNULL).returncode == 1


def test_the_container_can_write_to_its_store_and_to_memory_alone() -> None:
    assert SERVER["read_only"] is True
    assert SERVER["cap_drop"] == ["ALL"]
    assert [place.partition(":")[0] for place in SERVER["tmpfs"]] == ["/tmp"]
    (volume,) = SERVER["volumes"]
    assert volume.rpartition(":")[0].endswith(":/srv/store")
    written = {
        value for name, value in re.findall(r"\b(\w+)=(\S+)", FINAL) if name in ("DAGSTER_HOME", "XDG_CACHE_HOME")
    }
    assert all(place.startswith("/tmp/") for place in written)
    assert SERVER["ports"][0].startswith("127.0.0.1:8000:8000")
