from __future__ import annotations

import numpy as np
import pyarrow as pa

from vetrina.index.columns import Records, Texts, encoded, one_array

WORDS = ["a", "", "crème", "👗", "two\nlines", "x" * 300]


def test_texts_are_those_of_the_column_also_where_it_begins_in_the_middle_of_another() -> None:
    column = pa.array(WORDS)
    assert [Texts(column)[row] for row in range(len(WORDS))] == WORDS
    part = Texts(column.slice(2, 3))
    assert [part[row] for row in range(3)] == WORDS[2:5]
    joined = Texts(one_array(pa.chunked_array([column.slice(1, 2), column])))
    assert [joined[row] for row in range(8)] == [*WORDS[1:3], *WORDS]


def test_a_column_of_nothing_has_no_texts() -> None:
    empty = one_array(pa.chunked_array([], pa.string()))
    assert len(empty) == 0
    Texts(empty)


def test_codes_name_each_value_and_what_has_none() -> None:
    codes, names = encoded(pa.array(["Dress", None, "Chair", "Dress", None]))
    assert codes.dtype == np.int32
    assert [names[code] for code in codes] == ["Dress", None, "Chair", "Dress", None]


def test_a_record_has_the_values_of_its_row() -> None:
    rng = np.random.default_rng(0)
    columns = (
        rng.integers(256, size=50).astype(np.uint8),
        rng.integers(-9, 2**31, size=50).astype(np.int32),
        rng.random(50).astype(np.float32),
    )
    records = Records(*columns)
    assert [records[row] for row in range(50)] == list(zip(*(column.tolist() for column in columns), strict=True))
