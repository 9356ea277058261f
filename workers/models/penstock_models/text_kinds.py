"""The six scikit-learn kinds over short film-review sentences, text in.

They differ in what the worker computes after the same TF-IDF step: a dense product, trees, distances,
densities or a projection. The clusters and components are unsupervised; `eval.jsonl` then only serves texts.
`expected.json` holds what scikit-learn itself answers for some of them: the graphs are tested against it.
"""

from __future__ import annotations

import json

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import Pipeline
from sklearn.svm import LinearSVC

from . import reviews
from .folder import Model
from .manifest import TEXT_INPUT, Manifest, Tensor, Work
from .progress import say
from .sources import Sources
from .text_pipeline import export, tfidf

_TERMS = 5_000
_CLUSTERS = 8
_COMPONENTS = 50
_SEED = 0
_EXPECTED_COUNT = 40

_LABEL = Tensor("label", "INT64", ())


def build_logreg(name: str, sources: Sources) -> Model:
    """Logistic regression: label and class probabilities."""
    outputs = (_LABEL, Tensor("probabilities", "FP32", (2,)))
    model = LogisticRegression(C=4.0, max_iter=1000)
    return _classifier(name, sources, model, outputs, {"zipmap": False})


def build_svm(name: str, sources: Sources) -> Model:
    """Linear support vector machine: label and the two classes' signed distances."""
    outputs = (_LABEL, Tensor("scores", "FP32", (2,)))
    model = LinearSVC(C=0.5, random_state=_SEED)
    return _classifier(name, sources, model, outputs, {"raw_scores": True})


def build_random_forest(name: str, sources: Sources) -> Model:
    """A forest of 100 trees: label and class probabilities."""
    outputs = (_LABEL, Tensor("probabilities", "FP32", (2,)))
    model = RandomForestClassifier(100, max_depth=40, min_samples_leaf=2, random_state=_SEED, n_jobs=1)
    return _classifier(name, sources, model, outputs, {"zipmap": False})


def build_kmeans(name: str, sources: Sources) -> Model:
    """K-means with 8 clusters: the nearest one and the distances to all."""
    outputs = (_LABEL, Tensor("scores", "FP32", (_CLUSTERS,)))
    model = KMeans(_CLUSTERS, n_init=3, random_state=_SEED)
    return _unsupervised(name, sources, [("model", model)], outputs)


def build_gmm(name: str, sources: Sources) -> Model:
    """Gaussian mixture of 8 full covariances over 50 latent components: label and probabilities.

    The label comes as a column, [1] an item: so the converter writes it.
    """
    outputs = (Tensor("label", "INT64", (1,)), Tensor("probabilities", "FP32", (_CLUSTERS,)))
    steps = [
        ("svd", TruncatedSVD(_COMPONENTS, random_state=_SEED)),
        ("model", GaussianMixture(_CLUSTERS, random_state=_SEED, reg_covar=1e-4)),
    ]
    return _unsupervised(name, sources, steps, outputs)


def build_pca(name: str, sources: Sources) -> Model:
    """Principal component analysis: the first 50 components."""
    outputs = (Tensor("components", "FP32", (_COMPONENTS,)),)
    model = PCA(_COMPONENTS, svd_solver="arpack", random_state=_SEED)
    return _unsupervised(name, sources, [("model", model)], outputs)


def _classifier(
    name: str,
    sources: Sources,
    model: BaseEstimator,
    outputs: tuple[Tensor, ...],
    options: dict[str, object],
) -> Model:
    split = reviews.rotten_tomatoes(sources)
    pipeline = Pipeline([("tfidf", tfidf(_TERMS)), ("model", model)])
    say(f"{name}: fitting {len(split.train)} sentences")
    pipeline.fit(*zip(*split.train))
    accuracy = pipeline.score(*zip(*split.held_out))
    say(f"{name}: accuracy {accuracy:.3f} on {len(split.held_out)} held-out sentences")
    files = {"labels.txt": reviews.labels_txt()}
    files["expected.json"] = _expected(pipeline, split, outputs)
    return _finish(name, split, outputs, export(pipeline, name, options, outputs), files)


def _unsupervised(
    name: str,
    sources: Sources,
    steps: list[tuple[str, BaseEstimator]],
    outputs: tuple[Tensor, ...],
) -> Model:
    split = reviews.rotten_tomatoes(sources)
    pipeline = Pipeline([("tfidf", tfidf(_TERMS)), *steps])
    say(f"{name}: fitting {len(split.train)} sentences")
    pipeline.fit([text for text, _ in split.train])
    files = {"expected.json": _expected(pipeline, split, outputs)}
    return _finish(name, split, outputs, export(pipeline, name, {}, outputs), files)


def _expected(pipeline: Pipeline, split: reviews.Split, outputs: tuple[Tensor, ...]) -> bytes:
    """Texts that were not trained on, and scikit-learn's own answer in each output."""
    texts = [text for text, _ in split.held_out[:_EXPECTED_COUNT]]
    answers = {}
    for output in outputs:
        shape = (len(texts), *output.shape)
        values = np.asarray(_answer(pipeline, output.name, texts)).reshape(shape)
        answers[output.name] = (values if output.datatype == "INT64" else values.round(6)).tolist()
    return (json.dumps({"texts": texts, "outputs": answers}) + "\n").encode()


def _answer(pipeline: Pipeline, output: str, texts: list[str]) -> np.ndarray:
    """What the output is in scikit-learn; a two-class machine's scores are its distance either way."""
    if output == "label":
        return pipeline.predict(texts)
    if output == "probabilities":
        return pipeline.predict_proba(texts)
    if hasattr(pipeline, "decision_function"):
        distance = pipeline.decision_function(texts)
        return np.stack([-distance, distance], axis=1)
    return pipeline.transform(texts)


def _finish(
    name: str, split: reviews.Split, outputs: tuple[Tensor, ...], onnx_file: bytes, files: dict[str, bytes]
) -> Model:
    manifest = Manifest(
        name=name, inputs=(TEXT_INPUT,), outputs=outputs, work=Work("bytes"), license="MIT"
    )
    evaluation = reviews.eval_jsonl(split.held_out)
    return Model(manifest, {"model.onnx": onnx_file, "eval.jsonl": evaluation, **files})
