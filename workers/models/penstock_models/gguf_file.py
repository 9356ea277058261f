"""Reads GGUF files: the metadata, and the tensors as FP32 arrays.

Three tensor encodings are known, those of the pinned file: FP32, and the block formats Q4_1 and Q8_0 (32
weights a block with an FP16 scale; Q4_1 also has an FP16 least value). Nothing is written, and nothing is
read but what the header says is there.
"""

from __future__ import annotations

import math
import struct

import numpy as np

_MAGIC = b"GGUF"
_VERSION = 3
_DEFAULT_ALIGNMENT = 32
_BLOCK = 32
_FP32, _Q4_1, _Q8_0 = 0, 3, 8
_STRING, _ARRAY = 8, 9
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


class GgufError(ValueError):
    """The file is not GGUF, or holds something that this reader does not know."""


class GgufFile:
    """A parsed file: `metadata` by key, `tensors` by name with their shapes in row-major order."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._position = 0
        if self._take(4) != _MAGIC or self._scalar("I") != _VERSION:
            raise GgufError("not a GGUF file of version 3")
        tensor_count, key_count = self._scalar("Q"), self._scalar("Q")
        self.metadata: dict[str, object] = {}
        for _ in range(key_count):
            key = self._string()
            self.metadata[key] = self._value(self._scalar("I"))
        entries = [self._tensor_entry() for _ in range(tensor_count)]
        alignment = int(self.metadata.get("general.alignment", _DEFAULT_ALIGNMENT))
        start = -(-self._position // alignment) * alignment
        self.tensors = {
            name: self._tensor(start + offset, kind, shape) for name, shape, kind, offset in entries
        }

    def _tensor_entry(self) -> tuple[str, tuple[int, ...], int, int]:
        name = self._string()
        dimensions = [self._scalar("Q") for _ in range(self._scalar("I"))]
        kind, offset = self._scalar("I"), self._scalar("Q")
        return name, tuple(reversed(dimensions)), kind, offset

    def _tensor(self, offset: int, kind: int, shape: tuple[int, ...]) -> np.ndarray:
        count = math.prod(shape)
        if kind == _FP32:
            return np.frombuffer(self._content, "<f4", count, offset).reshape(shape)
        if count % _BLOCK or kind not in (_Q4_1, _Q8_0):
            raise GgufError(f"a tensor of kind {kind} with {count} weights")
        decode = _decode_q4_1 if kind == _Q4_1 else _decode_q8_0
        return decode(self._content, count // _BLOCK, offset).reshape(shape)

    def _value(self, kind: int) -> object:
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            element, count = self._scalar("I"), self._scalar("Q")
            return [self._value(element) for _ in range(count)]
        if kind not in _SCALARS:
            raise GgufError(f"a metadata value of kind {kind}")
        return self._scalar(_SCALARS[kind])

    def _string(self) -> str:
        return self._take(self._scalar("Q")).decode()

    def _scalar(self, form: str) -> int | float | bool:
        return struct.unpack(f"<{form}", self._take(struct.calcsize(f"<{form}")))[0]

    def _take(self, count: int) -> bytes:
        end = self._position + count
        if end > len(self._content):
            raise GgufError("the file is cut off")
        taken = self._content[self._position : end]
        self._position = end
        return taken


def _decode_q4_1(content: bytes, blocks: int, offset: int) -> np.ndarray:
    """Scale × nibble + least value; a byte holds weight i below and weight i + 16 above."""
    layout = np.dtype([("scale", "<f2"), ("least", "<f2"), ("nibbles", "u1", _BLOCK // 2)])
    block = np.frombuffer(content, layout, blocks, offset)
    levels = np.concatenate([block["nibbles"] & 15, block["nibbles"] >> 4], axis=1).astype(np.float32)
    return levels * block["scale"].astype(np.float32)[:, None] + block["least"].astype(np.float32)[:, None]


def _decode_q8_0(content: bytes, blocks: int, offset: int) -> np.ndarray:
    """Scale × signed byte."""
    layout = np.dtype([("scale", "<f2"), ("levels", "i1", _BLOCK)])
    block = np.frombuffer(content, layout, blocks, offset)
    return block["levels"].astype(np.float32) * block["scale"].astype(np.float32)[:, None]
