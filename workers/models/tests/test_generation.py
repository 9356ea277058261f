"""The decoder graphs compute what the numpy reference computes, with a cache, in a batch, and padded."""

from __future__ import annotations

import json
import struct
import unittest

import numpy as np

from penstock_models.decoder import Decoder, Precision
from penstock_models.gguf_file import GgufError, GgufFile
from penstock_models.llama import LlamaShape, next_logits, parameters
from penstock_models.weights import SeededWeights

from .support import Generator, model

# Untied and tied, with several query heads to a key head and with one.
SHAPES = [
    LlamaShape(64, 2, 4, 2, 96, 40, 64, 10_000.0, 1e-5, tied=False),
    LlamaShape(64, 2, 2, 2, 96, 40, 64, 100_000.0, 1e-5, tied=True),
]
TEXTS = [[3, 1, 4, 1, 5, 9, 2, 6], [5], [8, 9, 7, 9, 3]]


def tiny(shape: LlamaShape, precision: Precision = Precision.FP32) -> tuple[dict[str, np.ndarray], Generator]:
    """Seeded parameters, and the graph with them."""
    values = parameters(shape, SeededWeights(1, 0.15))
    return values, Generator(Decoder(shape, values, precision).finish("tiny"))


class Graph(unittest.TestCase):
    def test_logits_are_the_reference_s_alone_batched_and_step_by_step(self) -> None:
        for shape in SHAPES:
            values, generator = tiny(shape)
            expected = np.stack([next_logits(shape, values, text) for text in TEXTS])
            self.assertGreater(float(expected.std()), 0.1)
            with self.subTest(tied=shape.tied, way="batched and padded"):
                found, _ = generator.prefill(TEXTS)
                np.testing.assert_allclose(found, expected, atol=1e-4)
            with self.subTest(tied=shape.tied, way="one token at a time"):
                for text, logits in zip(TEXTS, expected):
                    state = generator.prefill([text[:1]])
                    for token in text[1:]:
                        state = generator.step(np.array([token]), state[1])
                    np.testing.assert_allclose(state[0][0], logits, atol=1e-4)

    def test_eight_bit_weights_change_logits_only_a_little(self) -> None:
        values, generator = tiny(SHAPES[1], Precision.INT8)
        expected = np.stack([next_logits(SHAPES[1], values, text) for text in TEXTS])
        found, _ = generator.prefill(TEXTS)
        for one, other in zip(found, expected):
            self.assertGreater(float(np.corrcoef(one, other)[0, 1]), 0.999)


class LlamaTiny(unittest.TestCase):
    def test_greedy_continuations_are_those_of_the_reference(self) -> None:
        folder = model("llama-tiny").folder
        rows = [json.loads(line) for line in (folder / "generation.jsonl").read_text().splitlines()]
        self.assertGreaterEqual(len(rows), 8)
        self.assertEqual({row["finish_reason"] for row in rows}, {"stop", "length"})
        generator = Generator((folder / "model.onnx").read_bytes())
        stops = model("llama-tiny").manifest["generation"]["stop_tokens"]
        tokenizer = model("llama-tiny").tokenizer
        prompts = [tokenizer.encode(row["prompt"]).ids for row in rows]
        found = generator.continue_greedily(prompts, rows[0]["max_tokens"], stops)
        for row, tokens in zip(rows, found):
            with self.subTest(prompt=row["prompt"]):
                self.assertEqual(tokenizer.decode(tokens), row["text"])
                self.assertEqual(len(tokens), row["completion_tokens"])

    def test_what_it_writes_is_printable(self) -> None:
        lines = (model("llama-tiny").folder / "generation.jsonl").read_text().splitlines()
        self.assertTrue(all(json.loads(line)["text"].isprintable() for line in lines))


class Gguf(unittest.TestCase):
    def test_blocks_are_decoded_as_the_format_says(self) -> None:
        halves = struct.pack("<ee", 0.5, -2.0) + bytes(range(0, 0x100, 0x10)) + b""
        eights = struct.pack("<e", 0.25) + bytes(range(32))
        file = GgufFile(gguf({"q4": (3, [32], halves), "q8": (8, [32], eights), "f": (0, [2, 3], bytes(24))}))
        np.testing.assert_array_equal(file.tensors["q4"][:16], np.full(16, -2.0))
        np.testing.assert_array_equal(file.tensors["q4"][16:], np.arange(16) * 0.5 - 2.0)
        np.testing.assert_array_equal(file.tensors["q8"], np.arange(32) * 0.25)
        self.assertEqual(file.tensors["f"].shape, (3, 2))
        self.assertEqual(file.metadata, {"general.alignment": 32, "words": ["a", "bc"]})

    def test_other_files_and_cut_ones_are_refused(self) -> None:
        whole = gguf({"f": (0, [2, 3], bytes(24))})
        for content in [b"GGML" + whole[4:], whole[:30], gguf({"x": (14, [32], bytes(64))})]:
            with self.assertRaises(GgufError):
                GgufFile(content)


def gguf(tensors: dict[str, tuple[int, list[int], bytes]]) -> bytes:
    """A file with two metadata entries and the given tensors: encoding, dimensions, data."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), 2)
    head += text("general.alignment") + struct.pack("<II", 4, 32)
    head += text("words") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("bc")
    data = b""
    for name, (kind, dimensions, content) in tensors.items():
        head += text(name) + struct.pack(f"<I{len(dimensions)}Q", len(dimensions), *dimensions)
        head += struct.pack("<IQ", kind, len(data))
        data += content + bytes(-len(content) % 32)
    return head + bytes(-len(head) % 32) + data


if __name__ == "__main__":
    unittest.main()
