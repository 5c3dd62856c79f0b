"""The backup of docs/operations.md: the same answers from the copy, and nothing is worked again."""

import shutil
import subprocess
from pathlib import Path

from support.fault_server import FaultServer
from support.manual import commands
from support.shops import NOTHING, Shop, cost, rows_of

from vetrina.catalog.batches import list_batches

NAMES = ["oak-chair", "white-chair", "coffee-cup", "box"]


def test_a_copied_store_gives_the_same_answers_and_costs_nothing(shop: Shop, server: FaultServer) -> None:
    for name, products in (("spring", NAMES[:3]), ("summer", NAMES[2:])):
        shop.work(shop.register(shop.catalog(name, rows_of(server, products))))
        shop.publish()
    before = shop.end_state(), {name: shop.similar(name) for name in NAMES}
    shop.set(STORE=shop.folder / "vetrina-store")
    (shop.folder / "store").rename(shop.folder / "vetrina-store")

    script = "\n".join(["set -e", *commands("docs/operations.md", "Backup and restore")])
    subprocess.run(["bash", "-c", script], cwd=shop.folder, check=True)
    shutil.rmtree(shop.folder / "vetrina-store")
    shop.set(STORE=Path(shop.folder / "backup"))

    assert (shop.end_state(), {name: shop.similar(name) for name in NAMES}) == before
    for batch in list_batches(shop.deployment.store):
        assert cost(shop.work(batch)) == NOTHING
    assert shop.publish().metadata["similarity_index"]["built"] is False
