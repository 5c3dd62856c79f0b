"""Reading weights in torch's legacy (pre-zip) file format, without torch and without running anything.

The file is five pickles (magic number, protocol, system facts, the dictionary of tensors, the storage keys)
followed by each storage's raw numbers: an int64 count, then little-endian values. A pickle can name any function
to call, so the unpickler here knows exactly the names such a dictionary needs and refuses every other.
"""

import io
import pickle
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np

from vetrina.errors import ModelError

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_STORAGES = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}


@dataclass(frozen=True, slots=True)
class _Storage:
    """A run of numbers that follows the pickles; tensors are views of it."""

    key: str
    dtype: np.dtype
    count: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A strided view of a storage, not yet filled (the numbers come later in the file)."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
    """Stands for torch._utils._rebuild_tensor_v2: records the view, and checks that it is one."""
    numbers = (offset, *shape, *strides) if isinstance(shape, tuple) and isinstance(strides, tuple) else (-1,)
    if not isinstance(storage, _Storage) or any(type(n) is not int or n < 0 for n in numbers):
        raise pickle.UnpicklingError("a tensor is not described as torch describes one")
    return _Tensor(storage, offset, shape, strides)


class _Restricted(pickle.Unpickler):
    """An unpickler for a dictionary of tensors and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        raise pickle.UnpicklingError(f"{module}.{name} has no place in a dictionary of tensors")

    def persistent_load(self, pid: Any) -> _Storage:
        match pid:
            case ("storage", np.dtype() as dtype, str() as key, str(), int() as count, None):
                return _Storage(key, dtype, count)
        raise pickle.UnpicklingError("a storage is not described as torch describes one")


def read_legacy_torch(data: bytes) -> dict[str, np.ndarray]:
    """The tensors of a legacy torch file by name, each a contiguous array of its own shape and dtype.

    Raises:
        ModelError: the data is not such a file, is cut, or names anything that is not a tensor.
    """
    file = io.BytesIO(data)
    try:
        if _Restricted(file).load() != _MAGIC or _Restricted(file).load() != _PROTOCOL:
            raise ModelError("The weights are not in torch's legacy format")
        facts, tensors, keys = (_Restricted(file).load() for _ in range(3))
    # What the pickle machine raises on nonsense depends on the nonsense.
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
        raise ModelError(f"The weights are refused: {error}") from error
    except (MemoryError, OverflowError, ImportError, RecursionError) as error:
        raise ModelError(f"The weights are refused: {type(error).__name__} {error}") from error
    if not isinstance(facts, dict) or facts.get("little_endian") is not True:
        raise ModelError("The weights were written on a big-endian machine, which is not supported")
    if not isinstance(tensors, dict) or not all(isinstance(t, _Tensor) for t in tensors.values()):
        raise ModelError("The weights are not a dictionary of tensors")
    storages = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(storages):
        raise ModelError("The weights' list of storages does not match their tensors")
    numbers = {key: _read_storage(file, storages[key]) for key in keys}
    return {str(name): _view(tensor, numbers[tensor.storage.key]) for name, tensor in tensors.items()}


def _read_storage(file: io.BytesIO, storage: _Storage) -> np.ndarray:
    count = int.from_bytes(file.read(8), "little", signed=True)
    raw = file.read(storage.count * storage.dtype.itemsize) if 0 <= storage.count == count else b""
    if count != storage.count or len(raw) != count * storage.dtype.itemsize:
        raise ModelError(f"The weights are cut or damaged in storage {storage.key}")
    return np.frombuffer(raw, storage.dtype)


def _view(tensor: _Tensor, numbers: np.ndarray) -> np.ndarray:
    """The tensor as a contiguous copy; a view that reaches outside its storage is refused before it is made."""
    if len(tensor.shape) != len(tensor.strides) or len(tensor.shape) > 8:
        raise ModelError("A tensor of the weights has strides that do not fit its shape")
    last = tensor.offset + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.strides, strict=True))
    size = int(np.prod(tensor.shape, dtype=object)) if tensor.shape else 1
    # size > len: zero strides could otherwise blow a few numbers up to any amount of memory.
    if 0 in tensor.shape or last >= len(numbers) or size > len(numbers):
        raise ModelError("A tensor of the weights reaches outside its storage")
    item = numbers.dtype.itemsize
    strided = np.lib.stride_tricks.as_strided(
        numbers[tensor.offset :], tensor.shape, [s * item for s in tensor.strides], writeable=False
    )
    return np.ascontiguousarray(strided).reshape(tensor.shape)
