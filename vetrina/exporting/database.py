"""Export into a shop's own database, SQLite or PostgreSQL, in one transaction: readers see the old table or the new.

    similar_products          (product_id, rank) → similar_id, score, same_class, since: the name of the table with
                              which the product's list last changed, the same in all its rows
    similar_products_export   one row: the name of the table that the database holds

The next export compares with the rows themselves and writes the changes only: a score is never further from the
table's than the tolerance, however many exports there were, and the table of before need not be kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from vetrina.errors import SettingError, StoreError
from vetrina.exporting.changes import Change, between, current_table, grouped, whole
from vetrina.store import Store

if TYPE_CHECKING:
    import sqlalchemy as sa

_PRODUCTS_AT_ONCE, _ROWS_AT_ONCE = 500, 10_000
_TABLE, _STATE = "similar_products", "similar_products_export"


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote. `since` is the table that the database held; None where it held none or was emptied."""

    table: str
    since: str | None
    products: int
    removed: int


@dataclass(frozen=True, slots=True)
class _Tables:
    similar: sa.Table
    state: sa.Table


def is_database(target: str) -> bool:
    """Whether an export's target is a database and not a file."""
    scheme, mark, _ = target.partition("://")
    return bool(mark) and scheme.partition("+")[0] in ("sqlite", "postgresql", "postgres")


def write_database(
    store: Store, url: str, *, afresh: bool = False, progress: Callable[[int], None] = lambda done: None
) -> Exported:
    """Bring the database to the shop's current table.

    Args:
        url: as SQLAlchemy writes it: `sqlite:///shop.db`, `postgresql://user:password@host/name`.
        afresh: write everything, also where the changes would do.
        progress: told how many products were written so far.

    Raises:
        NotFound: there is no table yet.
        SettingError: the address cannot be used, or its driver is not installed.
        StoreError: the database refused; nothing of the export is left in it.
    """
    table = current_table(store)
    with _transaction(url) as connection:
        tables = _prepare(connection)
        held = connection.execute(_locked(tables.state, connection)).scalar()
        if afresh:
            held = None
            connection.execute(tables.similar.delete())
        if held == table.name:
            return Exported(table.name, held, 0, 0)
        changes = between(_held(connection, tables.similar), whole(store, table.name))
        products, removed = _apply(connection, tables.similar, changes, table.name, progress)
        connection.execute(tables.state.delete())
        connection.execute(tables.state.insert(), {"id": 1, "held": table.name})
    return Exported(table.name, held, products, removed)


@contextmanager
def _transaction(url: str) -> Iterator[sa.Connection]:
    import sqlalchemy as sa

    try:
        address = sa.make_url(url.replace("postgres://", "postgresql://", 1))
        if address.get_backend_name() == "postgresql" and address.drivername == "postgresql":
            address = address.set(drivername="postgresql+psycopg2")
        engine = sa.create_engine(address)
    except (sa.exc.ArgumentError, ValueError) as error:
        raise SettingError("The database's address cannot be read; write sqlite:///FILE or postgresql://…") from error
    except ImportError as error:
        raise SettingError(f"{error.name} is not installed: pip install 'vetrina[postgres]'") from error
    shown = address.render_as_string(hide_password=True)
    try:
        # SQLite takes its lock at the first write; an exporter beside this one waits for it.
        with engine.begin() as connection:
            yield connection
    except sa.exc.SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise StoreError(f"The database {shown} refused the export, nothing was changed in it: {reason}") from error
    finally:
        engine.dispose()


def _prepare(connection: sa.Connection) -> _Tables:
    """The two tables, made where they are missing. Raises StoreError for a table of that name that is not ours."""
    import sqlalchemy as sa

    text: sa.types.TypeEngine[str] = sa.Text()
    if connection.dialect.name == "postgresql":
        text = sa.Text(collation="C")  # ids are opaque: compared byte by byte, whatever the database's language
    known = sa.MetaData()
    similar = sa.Table(
        _TABLE,
        known,
        sa.Column("product_id", text, primary_key=True),
        sa.Column("rank", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("similar_id", text, nullable=False),
        sa.Column("score", sa.Float, nullable=False),
        sa.Column("same_class", sa.Boolean, nullable=False),
        sa.Column("since", text, nullable=False),
    )
    state = sa.Table(
        _STATE,
        known,
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("held", text, nullable=False),
    )
    here = sa.inspect(connection)
    for table in (similar, state):
        if here.has_table(table.name):
            lacking = set(table.columns.keys()) - {column["name"] for column in here.get_columns(table.name)}
            if lacking:
                raise StoreError(
                    f"The database has a table {table.name} without the column {min(lacking)}, so it is not "
                    "Vetrina's; rename it or export into another database"
                )
    known.create_all(connection)
    return _Tables(similar, state)


def _locked(state: sa.Table, connection: sa.Connection) -> Any:
    """What the database holds; another export waits until this one is done."""
    import sqlalchemy as sa

    if connection.dialect.name == "postgresql":
        connection.execute(sa.text(f"LOCK TABLE {_STATE} IN EXCLUSIVE MODE"))
    else:
        connection.execute(state.delete().where(state.c.id == 0))  # a write, so that SQLite takes its lock
    return sa.select(state.c.held)


def _held(connection: sa.Connection, similar: sa.Table) -> Iterator[Change]:
    """The lists in the database, in the order of product ids; those that were given may be written meanwhile.

    Raises StoreError for a database that has another order, as one in UTF-16 does.
    """
    last = ""
    for change in grouped(_rows(connection, similar)):
        if change.product_id < last:
            raise StoreError("The database does not sort ids as UTF-8 does, so only --afresh can write into it")
        yield change
        last = change.product_id


def _rows(connection: sa.Connection, similar: sa.Table) -> Iterator[Sequence[Any]]:
    import sqlalchemy as sa

    place = (similar.c.product_id, similar.c.rank)
    columns = (similar.c[name] for name in ("product_id", "rank", "similar_id", "score", "same_class"))
    page = sa.select(*columns).order_by(*place).limit(_ROWS_AT_ONCE)
    rows = connection.execute(page).all()
    while rows:
        yield from rows
        rows = connection.execute(page.where(sa.tuple_(*place) > sa.tuple_(*rows[-1][:2]))).all()


def _apply(
    connection: sa.Connection,
    similar: sa.Table,
    changes: Iterable[Change],
    name: str,
    progress: Callable[[int], None],
) -> tuple[int, int]:
    """Write the lists; gives how many products were written and how many removed."""
    import sqlalchemy as sa

    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert
    else:
        from sqlalchemy.dialects.sqlite import insert  # type: ignore[assignment]
    statement = insert(similar)
    written = {key: statement.excluded[key] for key in ("similar_id", "score", "same_class", "since")}
    upsert = statement.on_conflict_do_update(index_elements=["product_id", "rank"], set_=written)
    shorten = similar.delete().where(
        similar.c.product_id == sa.bindparam("product"), similar.c.rank > sa.bindparam("last")
    )
    products = removed = 0
    stream = iter(changes)
    while chunk := list(islice(stream, _PRODUCTS_AT_ONCE)):
        lines = [
            {
                "product_id": change.product_id,
                "rank": line.rank,
                "similar_id": line.similar_id,
                "score": line.score,
                "same_class": line.same_class,
                "since": name,
            }
            for change in chunk
            for line in change.similar
        ]
        if lines:
            connection.execute(upsert, lines)
        ends = [{"product": change.product_id, "last": len(change.similar)} for change in chunk]
        connection.execute(shorten, ends)
        gone = sum(not change.similar for change in chunk)
        products, removed = products + len(chunk) - gone, removed + gone
        progress(products + removed)
    return products, removed
