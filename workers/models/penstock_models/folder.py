"""Writes a model folder whole or not at all, and tells whether one is still as it was written.

`recipe.json` beside the model records the recipe's hash and the digest of every file. A folder whose
record fits is left alone; anything else is built anew. It holds no time stamp and no machine's name.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from .manifest import Manifest

RECORD = "recipe.json"


@dataclass(frozen=True)
class Model:
    """A finished model: its manifest and the files beside `model.toml`, by name."""

    manifest: Manifest
    files: dict[str, bytes] = field(default_factory=dict)


def is_current(folder: Path, recipe_hash: str) -> bool:
    """True if the folder was built by this recipe and no file of it has changed since."""
    try:
        record = json.loads((folder / RECORD).read_text())
        return record["recipe"] == recipe_hash and all(
            _file_sha256(folder / name) == digest for name, digest in record["files"].items()
        )
    except (OSError, ValueError, KeyError):
        return False


def write(out: Path, model: Model, recipe_hash: str) -> Path:
    """Writes `out/<model name>` through a temporary folder and a rename; returns its path."""
    out.mkdir(parents=True, exist_ok=True)
    files = dict(model.files)
    model_file = model.manifest.file
    digest = None if model_file is None else _sha256(files[model_file])
    files["model.toml"] = model.manifest.to_toml(digest).encode()
    record = {"recipe": recipe_hash, "files": {name: _sha256(files[name]) for name in sorted(files)}}
    files[RECORD] = (json.dumps(record, indent=1) + "\n").encode()
    fresh = Path(tempfile.mkdtemp(prefix=f".{model.manifest.name}-", dir=out))
    try:
        fresh.chmod(0o755)
        for name, content in files.items():
            (fresh / name).write_bytes(content)
        return _swap_in(fresh, out / model.manifest.name)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _swap_in(fresh: Path, target: Path) -> Path:
    """Renames `fresh` to `target`; a folder cannot be renamed over a full one, so that one moves away."""
    if target.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{target.name}-old-", dir=target.parent))
        os.replace(target, old / target.name)
        os.replace(fresh, target)
        shutil.rmtree(old, ignore_errors=True)
    else:
        os.replace(fresh, target)
    return target


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
