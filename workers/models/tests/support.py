"""What the tests share: built models, their manifests, and a plain way to run them."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

MODELS_FOLDER = Path(__file__).resolve().parents[1]
WORKSPACE = MODELS_FOLDER.parents[1]
CACHE = Path(os.environ.get("PENSTOCK_CACHE") or WORKSPACE / "target/penstock").resolve()

DTYPES = {"FP32": np.float32, "INT64": np.int64}


def build(out: Path, *names: str, environment: dict[str, str] | None = None) -> None:
    """Runs the builder as people do; a failure shows what it printed."""
    command = [sys.executable, str(MODELS_FOLDER / "build.py"), "--out", str(out)]
    command += ["--cache", str(CACHE / "wheels"), *names]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(environment or {})})
    if done.returncode != 0:
        raise AssertionError(f"the builder failed:\n{done.stderr}")


class BuiltModel:
    """A model folder, read as the worker reads it."""

    def __init__(self, name: str) -> None:
        build(CACHE / "models", name)
        self.folder = CACHE / "models" / name
        self.manifest = tomllib.loads((self.folder / "model.toml").read_text())

    @functools.cached_property
    def session(self) -> onnxruntime.InferenceSession:
        """The model, loaded to run on one thread as in the worker."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        path = str(self.folder / self.manifest["file"])
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    @functools.cached_property
    def evaluation(self) -> list[dict]:
        """The rows of `eval.jsonl`."""
        return [json.loads(line) for line in (self.folder / "eval.jsonl").read_text().splitlines()]

    def run(self, items: Sequence[str] | np.ndarray) -> dict[str, np.ndarray]:
        """Runs one batch; texts are tokenized if the manifest says so."""
        names = [output["name"] for output in self.manifest["outputs"]]
        return dict(zip(names, self.session.run(names, self._feeds(items))))

    def _feeds(self, items: Sequence[str] | np.ndarray) -> dict[str, np.ndarray]:
        (entry,) = self.manifest["inputs"]
        if "tokenizer" in self.manifest:
            return self._token_feeds(items)
        if entry["datatype"] == "BYTES":
            return {entry["name"]: np.array([[text] for text in items], dtype=object)}
        return {entry["name"]: np.asarray(items, DTYPES[entry["datatype"]])}

    def _token_feeds(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        tokenizer = Tokenizer.from_file(str(self.folder / self.manifest["tokenizer"]["file"]))
        tokenizer.enable_truncation(self.manifest["max_length"])
        encoded = [tokenizer.encode(text).ids for text in texts]
        longest = max(len(ids) for ids in encoded)
        feeds = {
            "input_ids": np.array([ids + [0] * (longest - len(ids)) for ids in encoded]),
            "attention_mask": np.array([[1] * len(ids) + [0] * (longest - len(ids)) for ids in encoded]),
        }
        feeds["token_type_ids"] = np.zeros_like(feeds["input_ids"])
        wanted = {entry.name for entry in self.session.get_inputs()}
        return {name: value for name, value in feeds.items() if name in wanted}


@functools.cache
def model(name: str) -> BuiltModel:
    """The named model, built if need be and loaded once."""
    return BuiltModel(name)
