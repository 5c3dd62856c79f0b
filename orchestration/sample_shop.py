"""The sample shop: five real catalogs of homeware, from Debian's package `sweethome3d-furniture`.

The package comes through Debian's ordinary client, in a folder of our own and without root, and becomes ordinary
catalog files with pictures beside them.
"""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from vetrina.errors import VetrinaError

PACKAGE = "sweethome3d-furniture"
CATALOGS = ("BlendSwap-CC-0", "BlendSwap-CC-BY", "KatorLegaz", "Reallusion", "Scopia")
_ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})")
"""A character that ISO 8859-1 lacks, as Java's property files write it."""
_LINE = re.compile(r"([A-Za-z]+)#(\d+)=(.*)")
_COLUMNS = ("id", "name", "category", "width_cm", "depth_cm", "height_cm", "creator", "license", "path")


class NoSampleShop(VetrinaError):
    """The sample shop cannot be had here."""


def get_sample_shop(folder: Path) -> list[Path]:
    """The five catalog files in `folder`, made when they are missing.

    Raises:
        NoSampleShop: Debian's client is missing or cannot reach the package.
    """
    catalogs = [folder / f"{name.lower()}.csv" for name in CATALOGS]
    if all(catalog.exists() for catalog in catalogs):
        return catalogs
    folder.mkdir(parents=True, exist_ok=True)
    with_package = folder / "package"
    archives = _download(with_package)
    for name, catalog in zip(CATALOGS, catalogs, strict=True):
        _write_catalog(archives / f"{name}.sh3f", catalog)
    shutil.rmtree(with_package)
    return catalogs


def _download(folder: Path) -> Path:
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise NoSampleShop(
            f"The sample shop comes from Debian's package {PACKAGE}, and there is no Debian client (apt-get) here. "
            "Use a catalog of your own: a CSV file with the columns id and image_url, then: vetrina add FILE"
        )
    for name in ("lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    # Our own lists and cache: no root needed, and the machine's own stay as they are.
    options = [f"-oDir::State::Lists={folder.resolve()}/lists", f"-oDir::Cache={folder.resolve()}/cache"]
    _run(["apt-get", *options, "-qq", "update"], folder)
    _run(["apt-get", *options, "-qq", "download", PACKAGE], folder)
    package = next(folder.glob(f"{PACKAGE}_*.deb"), None)
    if package is None:
        raise NoSampleShop(f"Debian's client brought no {PACKAGE}; try: apt-get download {PACKAGE}")
    _run(["dpkg", "-x", package.name, "files"], folder)
    return folder / "files/usr/share/sweethome3d/furniture"


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoSampleShop(
            f"`{command[0]} … {command[-1]}` failed: {done.stderr.strip().splitlines()[-1:] or ['no reason given']}; "
            "check the network, or use a catalog of your own: vetrina add FILE"
        )


def _write_catalog(archive: Path, catalog: Path) -> None:
    """One furniture library as a CSV file, its pictures in a folder of the same name."""
    pictures = catalog.with_suffix("")
    pictures.mkdir(exist_ok=True)
    part = catalog.with_suffix(".part")
    with zipfile.ZipFile(archive) as library, part.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, _COLUMNS, extrasaction="ignore")
        writer.writeheader()
        for product in _products(library):
            icon = product.get("icon", "").lstrip("/")
            file = pictures / Path(icon).name
            file.write_bytes(library.read(icon))
            size = {f"{side}_cm": product.get(side, "") for side in ("width", "depth", "height")}
            writer.writerow({**product, **size, "path": f"{pictures.name}/{file.name}"})
    part.replace(catalog)


def _products(library: zipfile.ZipFile) -> Iterator[dict[str, str]]:
    text = io.TextIOWrapper(library.open("PluginFurnitureCatalog.properties"), encoding="iso-8859-1")
    products: defaultdict[int, dict[str, str]] = defaultdict(dict)
    for line in text:
        found = _LINE.match(line.strip())
        if found:
            products[int(found[2])][found[1]] = _ESCAPED.sub(lambda code: chr(int(code[1], 16)), found[3].strip())
    for number in sorted(products):
        if {"id", "name", "icon"} <= products[number].keys():
            yield products[number]
