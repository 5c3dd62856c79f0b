from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from index_samples import built, shop
from PIL import Image

from vetrina.index.charts import recall_png
from vetrina.index.manifest import Manifest
from vetrina.index.reader import open_folder
from vetrina.index.settings import IndexSettings
from vetrina.search.engine import SearchEngine


@pytest.mark.parametrize("classes", [0, 1, 60])
def test_the_chart_is_a_small_png_whatever_the_classes_are_called(tmp_path: Path, classes: int) -> None:
    manifest = built(shop(300, 6), tmp_path, IndexSettings(projection_dims=None, query_ms=0.5))
    recall = dict(manifest.recall)
    entry = {"recall": 0.9, "lower_95": 0.8, "queries": 20, "below_target": True}
    recall["by_label"] = [{**entry, "label": f"$\\frac {number}" * 5} for number in range(classes)]
    png = recall_png(recall)
    assert len(png) < 60_000
    picture = np.array(Image.open(io.BytesIO(png)).convert("RGB"))
    left, right = picture[:, : picture.shape[1] // 2], picture[:, picture.shape[1] // 2 :]
    assert left.std() > 5, "something is drawn"
    orange = (right == (0xD5, 0x5E, 0x00)).all(axis=2).any()
    assert orange == bool(classes)


def test_loading_the_chart_module_does_not_load_matplotlib() -> None:
    code = "import sys, vetrina.index.charts; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_manifest_of_before_the_frontier_is_read_and_searched(tmp_path: Path) -> None:
    built(shop(300, 6), tmp_path, IndexSettings(projection_dims=None, serve_with="annoy"))
    value = json.loads((tmp_path / "manifest.json").read_text())
    for name in ("frontier", "exact_classes", "outside", "query_ms", "within_budget"):
        del value["recall"][name]
    del value["annoy"]["outside_search_k"], value["settings"]["query_ms"]
    (tmp_path / "manifest.json").write_text(json.dumps(value))
    assert Manifest.from_bytes((tmp_path / "manifest.json").read_bytes()).exact_classes == []
    engine = SearchEngine(open_folder(tmp_path))
    assert len(engine.search(engine.product_query("p00007"), 5).neighbours) == 5
