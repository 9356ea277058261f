"""All recipes by model name, in the order in which they are built: what is needed soonest comes first."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable
from pathlib import Path

from .folder import Model
from .sources import Sources

Recipe = Callable[[str, Sources], Model]

# Names only: a recipe's module is imported when its model is built, since scikit-learn takes seconds to load.
_RECIPES: dict[str, tuple[str, str]] = {
    "identity": ("identity", "build_identity"),
    "identity-onnx": ("identity", "build_identity_onnx"),
    "imdb-sentiment": ("imdb_sentiment", "build"),
    "minilm": ("transformers", "build_minilm"),
    "bert-tiny": ("transformers", "build_bert_tiny"),
    "text-logreg": ("text_kinds", "build_logreg"),
    "text-svm": ("text_kinds", "build_svm"),
    "text-random-forest": ("text_kinds", "build_random_forest"),
    "text-kmeans": ("text_kinds", "build_kmeans"),
    "text-gmm": ("text_kinds", "build_gmm"),
    "text-pca": ("text_kinds", "build_pca"),
    "efficientnet-lite0": ("efficientnet", "build"),
    "distilbert": ("transformers", "build_distilbert"),
    "llama-tiny": ("generation", "build_llama_tiny"),
    "bert-base": ("transformers", "build_bert_base"),
    "smollm2": ("generation", "build_smollm2"),
    "smollm2-int8": ("generation", "build_smollm2_int8"),
}

# Built only when named: large, and needed by measurements alone.
ON_DEMAND = frozenset({"bert-base", "smollm2", "smollm2-int8"})

_PACKAGE = Path(__file__).parent
# What the bytes of every model depend on.
_COMMON = [_PACKAGE.parent / "requirements.txt", _PACKAGE / "repeatable.py"]


def names() -> list[str]:
    """All model names."""
    return list(_RECIPES)


def usual_names() -> list[str]:
    """The names of the models that are built when none is named."""
    return [name for name in _RECIPES if name not in ON_DEMAND]


def recipe(name: str) -> Recipe:
    """The function that builds the model."""
    module, function = _RECIPES[name]
    package = __name__.rpartition(".")[0]
    return getattr(__import__(f"{package}.{module}", fromlist=[function]), function)


def recipe_hash(name: str) -> str:
    """Changes when anything changes that the model's bytes can depend on.

    That is: the pinned requirements, the environment, and the source of the recipe's module and of all
    modules of this package that it imports, directly or through others.
    """
    module, function = _RECIPES[name]
    digest = hashlib.sha256(f"{name}:{module}.{function}\n".encode())
    for path in [*_COMMON, *sources_of(module)]:
        content = path.read_bytes()
        digest.update(f"{path.name}:{len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def sources_of(module: str) -> list[Path]:
    """The module's file and those of all modules of this package that it imports, also indirectly."""
    found: set[Path] = set()
    waiting = [_PACKAGE / f"{module}.py"]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _imports(path)
    return sorted(found)


def _imports(path: Path) -> list[Path]:
    modules: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            modules += [node.module] if node.module else [alias.name for alias in node.names]
    return [_PACKAGE / f"{module}.py" for module in modules]
