"""Llama: its dimensions, its parameters, and what it computes, written out in numpy.

`next_logits` is the reference that the exported graphs and the worker's generation are tested against: one
text at a time, all tokens anew at each step, no cache, no padding, no batch. It is slow on purpose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .weights import Weights


@dataclass(frozen=True)
class LlamaShape:
    """The published dimensions of a model. `tied`: the output matrix is the embedding."""

    hidden: int
    layers: int
    heads: int
    key_heads: int
    feed_forward: int
    vocabulary: int
    positions: int
    theta: float
    epsilon: float
    tied: bool

    @property
    def head_width(self) -> int:
        """Numbers in one head's vectors."""
        return self.hidden // self.heads


def parameters(shape: LlamaShape, weights: Weights) -> dict[str, np.ndarray]:
    """All parameters by their published names, asked for in a fixed order."""
    hidden, inner, keys = shape.hidden, shape.feed_forward, shape.key_heads * shape.head_width
    wanted = [("model.embed_tokens.weight", (shape.vocabulary, hidden), "matrix")]
    for layer in range(shape.layers):
        parts = [
            ("input_layernorm", (hidden,), "scale"),
            ("self_attn.q_proj", (hidden, hidden), "matrix"),
            ("self_attn.k_proj", (keys, hidden), "matrix"),
            ("self_attn.v_proj", (keys, hidden), "matrix"),
            ("self_attn.o_proj", (hidden, hidden), "matrix"),
            ("post_attention_layernorm", (hidden,), "scale"),
            ("mlp.gate_proj", (inner, hidden), "matrix"),
            ("mlp.up_proj", (inner, hidden), "matrix"),
            ("mlp.down_proj", (hidden, inner), "matrix"),
        ]
        wanted += [(f"model.layers.{layer}.{name}.weight", *rest) for name, *rest in parts]
    wanted.append(("model.norm.weight", (hidden,), "scale"))
    if not shape.tied:
        wanted.append(("lm_head.weight", (shape.vocabulary, hidden), "matrix"))
    return {name: weights.get(name, size, kind) for name, size, kind in wanted}


def next_logits(shape: LlamaShape, values: dict[str, np.ndarray], tokens: Sequence[int]) -> np.ndarray:
    """Logits of the token that follows `tokens`: [vocabulary]."""
    x = values["model.embed_tokens.weight"][np.asarray(tokens)]
    for layer in range(shape.layers):
        prefix = f"model.layers.{layer}."
        y = _norm(x, values[f"{prefix}input_layernorm.weight"], shape.epsilon)
        x = x + _attend(shape, values, f"{prefix}self_attn.", y)
        y = _norm(x, values[f"{prefix}post_attention_layernorm.weight"], shape.epsilon)
        gate = y @ values[f"{prefix}mlp.gate_proj.weight"].T
        inner = gate / (1 + np.exp(-gate)) * (y @ values[f"{prefix}mlp.up_proj.weight"].T)
        x = x + inner @ values[f"{prefix}mlp.down_proj.weight"].T
    last = _norm(x[-1], values["model.norm.weight"], shape.epsilon)
    head = values["model.embed_tokens.weight" if shape.tied else "lm_head.weight"]
    return head @ last


def _attend(shape: LlamaShape, values: dict[str, np.ndarray], prefix: str, y: np.ndarray) -> np.ndarray:
    length, width = len(y), shape.head_width
    query, key, value = (
        (y @ values[f"{prefix}{name}_proj.weight"].T).reshape(length, -1, width).swapaxes(0, 1)
        for name in ("q", "k", "v")
    )
    query, key = _rotate(shape, query), _rotate(shape, key)
    group = shape.heads // shape.key_heads
    scores = query @ np.repeat(key, group, axis=0).swapaxes(1, 2) / np.float32(np.sqrt(width))
    scores[:, np.triu(np.ones((length, length), bool), 1)] = -np.inf
    weights = np.exp(scores - scores.max(axis=2, keepdims=True))
    weights /= weights.sum(axis=2, keepdims=True)
    mixed = (weights @ np.repeat(value, group, axis=0)).swapaxes(0, 1).reshape(length, -1)
    return mixed @ values[f"{prefix}o_proj.weight"].T


def _rotate(shape: LlamaShape, x: np.ndarray) -> np.ndarray:
    """Turns each head's vectors, [heads, length, width], by the positions 0, 1, …"""
    frequencies = shape.theta ** -(np.arange(0, shape.head_width, 2) / shape.head_width)
    angles = np.outer(np.arange(x.shape[1]), frequencies)
    cosine, sine = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    first, second = np.split(x, 2, axis=2)
    return np.concatenate([first * cosine - second * sine, first * sine + second * cosine], axis=2)


def _norm(x: np.ndarray, scale: np.ndarray, epsilon: float) -> np.ndarray:
    return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + np.float32(epsilon)) * scale
