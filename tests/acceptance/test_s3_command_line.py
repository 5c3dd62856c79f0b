"""The command line with store, catalog and pictures at s3://, and what it says when S3 fails."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import s3_server as faults
from support.s3_server import S3Server, answer
from support.shops import Shop, opened_shop

VETRINA = str(Path(sys.executable).with_name("vetrina"))


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`vetrina ...` in a process of its own, under the settings in force."""
    return subprocess.run([VETRINA, *arguments], capture_output=True, text=True, timeout=600)


def report(*arguments: str) -> dict[str, Any]:
    """What a command that succeeds reports."""
    done = run(*arguments, "--json")
    assert done.returncode == 0, done
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def refusal(*arguments: str) -> str:
    """What a command that fails says: no stack trace, nothing secret."""
    done = run(*arguments)
    assert done.returncode == 1, done
    text = done.stdout + done.stderr
    assert "Traceback" not in text
    assert "very-secret" not in text and "secret text" not in text
    return text


@pytest.fixture
def cloud(s3: S3Server, tmp_path: Path, bundled_models: None, product_pictures: dict[str, bytes]) -> Iterator[Shop]:
    """A shop with everything in the bucket: store, catalog and pictures."""
    client = s3.client
    names = ["box", "bootie", "umbrella"]
    for name in names:
        client.put_object(Bucket="shop", Key=f"feed/pictures/{name}.png", Body=product_pictures[name])
    rows = "".join(f"{name},pictures/{name}.png\n" for name in names)
    client.put_object(Bucket="shop", Key="feed/spring.csv", Body=b"id,url\n" + rows.encode())
    with opened_shop(tmp_path / "shop") as shop:
        shop.set(STORE="s3://shop/store")
        yield shop


def test_all_of_it_at_s3(cloud: Shop, s3: S3Server) -> None:
    first = report("add", "s3://shop/feed/spring.csv")
    assert (first["total"]["fetched"], first["total"]["detected"], first["failed"]) == (3, 3, [])
    assert first["batches"][0]["rows"] == sum(first["batches"][0]["states"].values()) == 3
    assert {found["product_id"] for found in report("similar", "box")["similar"]} == {"bootie", "umbrella"}
    again = report("add", "s3://shop/feed/spring.csv")
    assert (again["total"]["fetched"], again["total"]["detected"], again["total"]["embedded"]) == (0, 0, 0)
    assert report("status")["store"] == "s3://shop/store"


def test_a_store_that_cannot_be_used_is_named_in_one_line(cloud: Shop, s3: S3Server) -> None:
    s3.fail(answer(403, "InvalidAccessKeyId"))
    text = refusal("status")
    assert [line for line in text.splitlines() if line.startswith("vetrina: ")] == text.splitlines()
    assert "s3://shop" in text and "AWS_ACCESS_KEY_ID" in text
    s3.heal()
    cloud.set(STORE="s3://no-such-bucket/store")
    assert "no bucket s3://no-such-bucket" in refusal("similar", "box")


def test_a_catalog_that_cannot_be_had_is_named(cloud: Shop) -> None:
    assert "There is no catalog at s3://shop/feed/winter.csv" in refusal("add", "s3://shop/feed/winter.csv")
    assert "no bucket s3://elsewhere" in refusal("add", "s3://elsewhere/spring.csv")
    assert "names no file" in refusal("add", "s3://shop/feed/")


def test_a_store_that_fails_in_the_middle_ends_the_run_and_the_next_one_goes_on(cloud: Shop, s3: S3Server) -> None:
    s3.fail(answer(503, "SlowDown"), method="PUT", part="/vectors/")
    text = refusal("add", "s3://shop/feed/spring.csv")
    assert "503" in text and "try later" in text
    s3.heal()
    again = report("add", "s3://shop/feed/spring.csv")
    assert (again["total"]["fetched"], again["total"]["detected"]) == (0, 0)
    assert again["batches"][0]["rows"] == sum(again["batches"][0]["states"].values()) == 3


def test_an_outage_is_not_taken_for_a_damaged_index(cloud: Shop, s3: S3Server) -> None:
    report("add", "s3://shop/feed/spring.csv")
    s3.fail(faults.hang_up, part="/index/")
    text = refusal("similar", "box")
    assert "cannot be reached" in text and "no index" not in text
