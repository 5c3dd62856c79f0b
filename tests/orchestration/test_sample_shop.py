import csv
import zipfile
from pathlib import Path

from orchestration.sample_shop import _write_catalog


def test_names_keep_the_characters_that_the_library_writes_as_codes(tmp_path: Path) -> None:
    library = tmp_path / "library.sh3f"
    with zipfile.ZipFile(library, "w") as archive:
        lines = ["id#1=bill", "name#1=Bill 20\\u20ac", "category#1=Caf\u00e9", "icon#1=/bill.png"]
        archive.writestr("PluginFurnitureCatalog.properties", "\n".join(lines).encode("iso-8859-1"))
        archive.writestr("bill.png", b"")
    catalog = tmp_path / "bills.csv"
    _write_catalog(library, catalog)
    (row,) = csv.DictReader(catalog.open(encoding="utf-8"))
    assert (row["name"], row["category"]) == ("Bill 20€", "Café")
