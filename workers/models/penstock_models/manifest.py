"""The content of `model.toml`: what a model takes and gives, and how its work is counted.

Only plain values are written (strings, integers, lists of integers), so no TOML writer is needed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Tensor:
    """One input or output. `shape` is that of one item, without the batch dimension; -1 is variable."""

    name: str
    datatype: str
    shape: tuple[int, ...]


TEXT_INPUT = Tensor("text", "BYTES", (1,))


@dataclass(frozen=True)
class Tokenizer:
    """The tokenizer file, and the BYTES input whose text it turns into token ids."""

    file: str
    sha256: str
    input: str


@dataclass(frozen=True)
class Work:
    """What the cost of an item is counted in: `tokens`, `bytes`, or `items` with a fixed amount each."""

    unit: str
    per_item: int | None = None


@dataclass(frozen=True)
class Generation:
    """What makes the worker generate.

    New tokens by default and at most, the tokens that end a text, and how many texts one process continues at
    the same time, which bounds the memory of its key-value cache.
    """

    max_tokens: int
    max_tokens_limit: int
    max_rows: int
    stop_tokens: tuple[int, ...]


@dataclass(frozen=True)
class Manifest:
    """Everything in `model.toml` but the digest of the model file, which the folder writer adds."""

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    work: Work
    license: str
    weights: str = "real"
    engine: str = "onnxruntime"
    platform: str = "onnx_onnxv1"
    file: str | None = "model.onnx"
    max_length: int | None = None
    tokenizer: Tokenizer | None = None
    generation: Generation | None = None
    version: str = field(default="1")

    def to_toml(self, file_sha256: str | None) -> str:
        """Renders the manifest; `file_sha256` is absent exactly when the engine needs no file."""
        if (self.file is None) != (file_sha256 is None):
            raise ValueError(f"{self.name}: a model file and its digest belong together")
        head = [("name", self.name), ("version", self.version), ("engine", self.engine)]
        if self.file is not None:
            head += [("file", self.file), ("sha256", file_sha256)]
        head += [("weights", self.weights), ("platform", self.platform), ("license", self.license)]
        if self.max_length is not None:
            head.append(("max_length", self.max_length))
        sections = [_pairs(head)]
        sections += [_table("[[inputs]]", tensor) for tensor in self.inputs]
        sections += [_table("[[outputs]]", tensor) for tensor in self.outputs]
        if self.tokenizer is not None:
            sections.append(_table("[tokenizer]", self.tokenizer))
        if self.generation is not None:
            sections.append(_table("[generation]", self.generation))
        sections.append(_table("[work]", self.work))
        return "\n".join(sections)


def _table(title: str, entry: object) -> str:
    values = [(key, value) for key, value in vars(entry).items() if value is not None]
    return f"{title}\n{_pairs(values)}"


def _pairs(values: list[tuple[str, object]]) -> str:
    return "".join(f"{key} = {_value(value)}\n" for key, value in values)


def _value(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(str(int(number)) for number in value) + "]"
    if isinstance(value, (str, int)):
        return json.dumps(value, ensure_ascii=False)
    raise TypeError(f"no TOML form for {value!r}")
