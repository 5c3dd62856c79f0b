"""The reader against files written here opcode by opcode, so that hostile ones can be written too."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vetrina.embedding.legacy_torch import read_legacy_torch
from vetrina.errors import ModelError
from vetrina.models.bundled import LITE_WEIGHTS

_HEAD = b"".join(
    pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True})
)


def _text(text: str) -> bytes:
    return b"X" + len(text).to_bytes(4, "little") + text.encode()


def _numbers(numbers: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(b"I%d\n" % n for n in numbers) + b"t"


def _tensor(
    key: str,
    count: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    offset: int = 0,
    storage: str = "FloatStorage",
) -> bytes:
    persistent = b"(" + _text("storage") + b"ctorch\n" + storage.encode() + b"\n" + _text(key) + _text("cpu")
    persistent += b"I%d\nNtQ" % count
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n("
        + persistent
        + b"I%d\n" % offset
        + _numbers(shape)
        + _numbers(strides)
        + b"I00\nccollections\nOrderedDict\n)RtR"
    )


def _file(tensors: dict[str, bytes], storages: dict[str, np.ndarray]) -> bytes:
    body = b"\x80\x02ccollections\nOrderedDict\n)R("
    body += b"".join(_text(name) + tensor for name, tensor in tensors.items()) + b"u."
    numbers = b"".join(len(s).to_bytes(8, "little") + s.tobytes() for s in storages.values())
    return _HEAD + body + pickle.dumps(list(storages), 2) + numbers


_SIX = np.arange(6, dtype="<f4")
_GOOD = _file({"a": _tensor("k", 6, (2, 3), (3, 1)), "b": _tensor("k", 6, (3,), (1,), 3)}, {"k": _SIX})


def test_tensors_are_read_by_shape_strides_and_offset() -> None:
    tensors = read_legacy_torch(_GOOD)
    assert list(tensors) == ["a", "b"]
    assert np.array_equal(tensors["a"], _SIX.reshape(2, 3)) and np.array_equal(tensors["b"], _SIX[3:])
    turned = read_legacy_torch(_file({"a": _tensor("k", 6, (3, 2), (1, 3))}, {"k": _SIX}))["a"]
    assert np.array_equal(turned, _SIX.reshape(2, 3).T) and turned.flags.c_contiguous


def test_the_bundled_weights_are_read_completely() -> None:
    tensors = read_legacy_torch(LITE_WEIGHTS["efficientnet-lite0"].read())
    assert len(tensors) == 296
    assert tensors["_conv_stem.weight"].shape == (32, 3, 3, 3) and tensors["_fc.weight"].shape == (1000, 1280)
    assert tensors["_bn0.num_batches_tracked"].shape == ()
    assert sum(t.size for t in tensors.values() if t.dtype == np.float32) == 4_652_008 + 2 * 21_008, (
        "parameters, and means and variances of 21 008 channels"
    )
    assert all(np.isfinite(t).all() for t in tensors.values())


@pytest.mark.parametrize(
    "call", [b"cos\nsystem\n", b"cposix\nsystem\n", b"cbuiltins\neval\n", b"cbuiltins\ngetattr\n", b"ctorch\nload\n"]
)
def test_a_pickle_that_names_a_function_is_refused_and_never_called(call: bytes, tmp_path: Path) -> None:
    trace = tmp_path / "called"
    hostile = _HEAD + b"\x80\x02" + call + b"(" + _text(f"touch {trace}") + b"tR."
    with pytest.raises(ModelError, match=r"refused: .* has no place in a dictionary of tensors"):
        read_legacy_torch(hostile)
    assert not trace.exists()


def test_a_hostile_first_pickle_is_refused_too() -> None:
    with pytest.raises(ModelError, match="refused"):
        read_legacy_torch(b"\x80\x02cos\nsystem\n(" + _text("true") + b"tR.")


@pytest.mark.parametrize(
    ("tensor", "storages"),
    [
        (_tensor("k", 6, (7,), (1,)), {"k": _SIX}),
        (_tensor("k", 6, (3,), (3,)), {"k": _SIX}),
        (_tensor("k", 6, (3,), (1,), 4), {"k": _SIX}),
        (_tensor("k", 6, (10**9, 10**3), (0, 0)), {"k": _SIX}),
        (_tensor("k", 6, (2,), (-1,)), {"k": _SIX}),
        (_tensor("k", 6, (2, 3), (1,)), {"k": _SIX}),
        (_tensor("k", 10**12, (2,), (1,)), {"k": _SIX}),
        (_tensor("other", 6, (2,), (1,)), {"k": _SIX}),
        (_tensor("k", 6, (2,), (1,), storage="QInt8Storage"), {"k": _SIX}),
        (_text("no tensor"), {"k": _SIX}),
    ],
)
def test_a_tensor_that_reaches_outside_its_numbers_is_refused(tensor: bytes, storages: dict[str, np.ndarray]) -> None:
    with pytest.raises(ModelError):
        read_legacy_torch(_file({"a": tensor}, storages))


def test_a_big_endian_file_and_another_format_are_refused() -> None:
    with pytest.raises(ModelError, match="big-endian"):
        read_legacy_torch(_GOOD.replace(b"\x88", b"\x89"))  # the opcodes of True and False
    with pytest.raises(ModelError, match="not in torch's legacy format"):
        read_legacy_torch(pickle.dumps(1, 2) + pickle.dumps(2, 2))
    with pytest.raises(ModelError):
        read_legacy_torch(b"PK\x03\x04" + bytes(100))


@pytest.mark.parametrize("length", [0, 1, 30, len(_GOOD) // 2, len(_GOOD) - 25, len(_GOOD) - 1])
def test_a_cut_file_is_refused(length: int) -> None:
    with pytest.raises(ModelError):
        read_legacy_torch(_GOOD[:length])


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(_GOOD) - 1), st.integers(0, 255))
def test_any_altered_byte_gives_tensors_or_a_model_error(position: int, value: int) -> None:
    altered = bytearray(_GOOD)
    altered[position] = value
    try:
        tensors = read_legacy_torch(bytes(altered))
    except ModelError:
        return
    assert all(isinstance(t, np.ndarray) for t in tensors.values())
