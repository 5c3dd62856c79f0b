"""A table of similar products that is under way: what is done lies aside in the store, so that a killed build goes on.

A part holds the lines of so many products, in the order of ids, as Parquet in the table's own folder. Parts are cut the
same way each time, so a table that was interrupted has the bytes of one that was not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from vetrina.pictures.collecting import Progress
from vetrina.store import Store

PART_PRODUCTS = 4096


def in_parts(
    store: Store,
    folder: str,
    products: int,
    make: Callable[[range], Iterable[pa.Table]],
    schema: pa.Schema,
    progress: Progress,
) -> Iterator[pa.Table]:
    """The lines of all products, one table for each part; parts that are there are read, others made and kept.

    Args:
        folder: of the table. A table of one part is done as soon as the part is, so nothing is put aside.
        make: the lines of some products, given by their positions.
        progress: told of the products done, of how many.
    """
    parts = [range(start, min(start + PART_PRODUCTS, products)) for start in range(0, products, PART_PRODUCTS)]
    for number, part in enumerate(parts):
        path = _path(folder, number)
        table = _kept(store, path, schema) if len(parts) > 1 else None
        if table is None:
            table = pa.concat_tables([schema.empty_table(), *make(part)]).combine_chunks()
            if len(parts) > 1:
                with store.writing(path) as file:
                    pq.write_table(table, file, compression="zstd")
        progress(part.stop, products)
        yield table


def drop_parts(store: Store, folder: str) -> None:
    """Delete what lies aside for a table that is finished."""
    for name in store.names(_folder(folder)):
        store.delete(f"{_folder(folder)}/{name}")


def _kept(store: Store, path: str, schema: pa.Schema) -> pa.Table | None:
    """A part, or None when it has to be made."""
    try:
        with store.open(path) as handle:
            table = pq.read_table(handle)
    except (FileNotFoundError, pa.ArrowInvalid, OSError):
        return None
    return table if table.schema.equals(schema) else None


def _folder(folder: str) -> str:
    return f"{folder}/parts"


def _path(folder: str, number: int) -> str:
    return f"{_folder(folder)}/{number:06d}.parquet"
