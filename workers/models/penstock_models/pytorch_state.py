"""Reads a PyTorch state dictionary of the older, non-zip format with numpy only.

A pickle can name any function to call. This reader resolves exactly three kinds of names: storage types,
the tensor builder (replaced by a plain description) and `OrderedDict`. Everything else is refused.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

_MAGIC = 0x1950A86A20F9469CFC6C
_STORAGE_TYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


@dataclass(frozen=True)
class _StorageType:
    dtype: np.dtype


@dataclass(frozen=True)
class _StorageReference:
    key: str
    dtype: np.dtype


@dataclass(frozen=True)
class _TensorView:
    storage: _StorageReference
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_state(content: bytes) -> dict[str, np.ndarray]:
    """Returns the arrays of a state dictionary by name; anything but tensors in it is refused."""
    file = io.BytesIO(content)
    if _Unpickler(file).load() != _MAGIC:
        raise ValueError("not a PyTorch file of the non-zip format")
    _Unpickler(file).load()  # protocol version
    _Unpickler(file).load()  # the writer's byte order and type sizes
    views = _Unpickler(file).load()
    keys = _Unpickler(file).load()
    for name, view in views.items():
        if not isinstance(view, _TensorView):
            raise ValueError(f"`{name}` is not a tensor")
    dtypes = {view.storage.key: view.storage.dtype for view in views.values()}
    storages = {key: _read_storage(file, dtypes[key]) for key in keys}
    return {name: _array(view, storages[view.storage.key]) for name, view in views.items()}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        if module == "torch" and name in _STORAGE_TYPES:
            return _StorageType(_STORAGE_TYPES[name])
        if module == "torch._utils" and name == "_rebuild_tensor_v2":
            return _describe_tensor
        if module == "collections" and name == "OrderedDict":
            return OrderedDict
        raise pickle.UnpicklingError(f"`{module}.{name}` has no place in a state dictionary")

    def persistent_load(self, reference: tuple) -> _StorageReference:
        kind, storage_type, key = reference[:3]
        if kind != "storage" or not isinstance(storage_type, _StorageType):
            raise pickle.UnpicklingError(f"unknown persistent reference `{kind}`")
        return _StorageReference(str(key), storage_type.dtype)


def _describe_tensor(
    storage: _StorageReference, offset: int, shape: tuple, strides: tuple, *_: object
) -> _TensorView:
    return _TensorView(storage, offset, tuple(shape), tuple(strides))


def _read_storage(file: io.BytesIO, dtype: np.dtype) -> np.ndarray:
    (count,) = struct.unpack("<q", file.read(8))
    return np.frombuffer(file.read(count * dtype.itemsize), dtype)


def _array(view: _TensorView, storage: np.ndarray) -> np.ndarray:
    """Copies a view out of its storage after checking that it lies within it."""
    last = view.offset + sum((size - 1) * stride for size, stride in zip(view.shape, view.strides))
    if min(view.shape, default=1) < 1 or min(view.strides, default=0) < 0:
        raise ValueError("a tensor with an empty dimension or a negative stride")
    if view.offset < 0 or last >= len(storage):
        raise ValueError("a tensor that reaches beyond its storage")
    strides = [stride * storage.itemsize for stride in view.strides]
    return np.lib.stride_tricks.as_strided(storage[view.offset :], view.shape, strides).copy()
