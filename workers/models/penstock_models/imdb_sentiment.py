"""`imdb-sentiment`: TF-IDF and logistic regression over film reviews; the light model with real answers."""

from __future__ import annotations

from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from . import reviews
from .folder import Model
from .manifest import TEXT_INPUT, Manifest, Tensor, Work
from .progress import say
from .sources import Sources
from .text_pipeline import export, tfidf

_EVAL_COUNT = 2_000


def build(name: str, sources: Sources) -> Model:
    """Trains on 20,000 reviews; the first 2,000 of the held-out ones become `eval.jsonl`."""
    split = reviews.imdb(sources)
    pipeline = Pipeline([("tfidf", tfidf(20_000)), ("model", LogisticRegression(C=3, max_iter=500))])
    say(f"{name}: fitting {len(split.train)} reviews")
    texts, labels = zip(*split.train)
    pipeline.fit(texts, labels)
    held_out_texts, held_out_labels = zip(*split.held_out)
    accuracy = pipeline.score(held_out_texts, held_out_labels)
    say(f"{name}: accuracy {accuracy:.4f} on {len(split.held_out)} held-out reviews")
    outputs = (Tensor("label", "INT64", ()), Tensor("probabilities", "FP32", (2,)))
    manifest = Manifest(
        name=name,
        inputs=(TEXT_INPUT,),
        outputs=outputs,
        work=Work("bytes"),
        license="MIT",
    )
    files = {
        "model.onnx": export(pipeline, name, {"zipmap": False}, outputs),
        "labels.txt": reviews.labels_txt(),
        "eval.jsonl": reviews.eval_jsonl(split.held_out[:_EVAL_COUNT]),
    }
    return Model(manifest, files)
