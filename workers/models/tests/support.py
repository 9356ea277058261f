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

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        """The folder's tokenizer."""
        return Tokenizer.from_file(str(self.folder / self.manifest["tokenizer"]["file"]))

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
        self.tokenizer.enable_truncation(self.manifest["max_length"])
        encoded = [self.tokenizer.encode(text).ids for text in texts]
        longest = max(len(ids) for ids in encoded)
        feeds = {
            "input_ids": np.array([ids + [0] * (longest - len(ids)) for ids in encoded]),
            "attention_mask": np.array([[1] * len(ids) + [0] * (longest - len(ids)) for ids in encoded]),
        }
        feeds["token_type_ids"] = np.zeros_like(feeds["input_ids"])
        wanted = {entry.name for entry in self.session.get_inputs()}
        return {name: value for name, value in feeds.items() if name in wanted}


class Generator:
    """A decoder graph, run in batches that are padded on the left."""

    def __init__(self, graph: bytes) -> None:
        self._session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
        self._past = [entry for entry in self._session.get_inputs() if entry.name.startswith("past_")]

    def prefill(self, texts: Sequence[Sequence[int]]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Logits of each text's next token, and what `step` goes on from."""
        longest = max(len(text) for text in texts)
        padding = [longest - len(text) for text in texts]
        mask = np.array([[0] * pad + [1] * (longest - pad) for pad in padding])
        ids = np.array([[0] * pad + list(text) for pad, text in zip(padding, texts)])
        past = {
            entry.name: np.zeros((len(texts), entry.shape[1], 0, entry.shape[3]), np.float32)
            for entry in self._past
        }
        return self._run(ids, mask, np.maximum(mask.cumsum(axis=1) - 1, 0), past)

    def step(
        self, tokens: np.ndarray, state: dict[str, np.ndarray]
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The same after one more token a text."""
        past = dict(state)
        mask = np.pad(past.pop("attention_mask"), ((0, 0), (0, 1)), constant_values=1)
        return self._run(tokens[:, None], mask, mask.sum(axis=1, keepdims=True) - 1, past)

    def continue_greedily(
        self, texts: Sequence[Sequence[int]], max_tokens: int, stops: Sequence[int]
    ) -> list[list[int]]:
        """The new tokens of each text, all texts in one batch to the end."""
        found: list[list[int]] = [[] for _ in texts]
        ended = [False] * len(texts)
        logits, state = self.prefill(texts)
        for _ in range(max_tokens):
            tokens = logits.argmax(axis=1)
            for row, token in enumerate(tokens):
                ended[row] = ended[row] or int(token) in stops
                if not ended[row]:
                    found[row].append(int(token))
            logits, state = self.step(tokens, state)
        return found

    def _run(
        self, ids: np.ndarray, mask: np.ndarray, positions: np.ndarray, past: dict[str, np.ndarray]
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        feeds = {"input_ids": ids, "attention_mask": mask, "position_ids": positions, **past}
        logits, *present = self._session.run(None, feeds)
        state = {entry.name: values for entry, values in zip(self._past, present)}
        return logits[:, -1], {"attention_mask": mask, **state}


@functools.cache
def model(name: str) -> BuiltModel:
    """The named model, built if need be and loaded once."""
    return BuiltModel(name)
