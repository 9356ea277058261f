"""The builder: equal bytes on each run, folders written whole, what is current left alone."""

from __future__ import annotations

import hashlib
import tempfile
import unittest
from pathlib import Path

from penstock_models import folder, registry
from penstock_models.folder import Model
from penstock_models.manifest import Manifest, Tensor, Work

from .support import CACHE, build, model

# Those that take a few seconds each, with at least one of every way in which a model is made.
CHEAP = ["identity", "identity-onnx", "bert-tiny", "text-svm", "text-gmm", "efficientnet-lite0", "llama-tiny"]

MANIFEST = Manifest(
    name="tiny",
    inputs=(Tensor("x", "FP32", (-1,)),),
    outputs=(Tensor("y", "INT64", ()),),
    work=Work("items", 1),
    license="Apache-2.0",
)


def digests(root: Path) -> dict[str, str]:
    """The digest of every file below `root`, by relative path."""
    files = [path for path in root.rglob("*") if path.is_file()]
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# What a user's shell may hold, and what would change the bytes if the builder let it.
FOREIGN = {
    "PYTHONHASHSEED": "1",
    "OMP_NUM_THREADS": "2",
    "OPENBLAS_NUM_THREADS": "2",
    "OPENBLAS_CORETYPE": "Sandybridge",
    "NPY_DISABLE_CPU_FEATURES": "",
}


class Repeatability(unittest.TestCase):
    def test_two_builds_give_equal_bytes(self) -> None:
        with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
            build(Path(first), *CHEAP, environment=FOREIGN)
            build(Path(second), *CHEAP, environment={"PYTHONHASHSEED": "2"})
            self.assertEqual(digests(Path(first)), digests(Path(second)))
            self.assertEqual({path.name for path in Path(first).iterdir()}, set(CHEAP))

    def test_a_rebuild_gives_the_bytes_of_the_models_in_use(self) -> None:
        model("imdb-sentiment")
        with tempfile.TemporaryDirectory() as fresh:
            build(Path(fresh), "imdb-sentiment")
            in_use = digests(CACHE / "models/imdb-sentiment")
            self.assertEqual(digests(Path(fresh) / "imdb-sentiment"), in_use)


class Folders(unittest.TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.out = Path(scratch.name)

    def test_a_folder_is_current_until_a_file_or_the_recipe_changes(self) -> None:
        path = folder.write(self.out, Model(MANIFEST, {"model.onnx": b"graph"}), "recipe-1")
        self.assertTrue(folder.is_current(path, "recipe-1"))
        self.assertFalse(folder.is_current(path, "recipe-2"))
        (path / "model.onnx").write_bytes(b"other")
        self.assertFalse(folder.is_current(path, "recipe-1"))

    def test_a_missing_or_broken_record_means_building_anew(self) -> None:
        path = folder.write(self.out, Model(MANIFEST, {"model.onnx": b"graph"}), "recipe-1")
        (path / folder.RECORD).write_text("{")
        self.assertFalse(folder.is_current(path, "recipe-1"))
        self.assertFalse(folder.is_current(self.out / "absent", "recipe-1"))

    def test_a_new_build_replaces_the_whole_folder_and_leaves_nothing_beside_it(self) -> None:
        folder.write(self.out, Model(MANIFEST, {"model.onnx": b"old", "labels.txt": b"a"}), "recipe-1")
        path = folder.write(self.out, Model(MANIFEST, {"model.onnx": b"new"}), "recipe-2")
        self.assertEqual((path / "model.onnx").read_bytes(), b"new")
        self.assertFalse((path / "labels.txt").exists())
        self.assertEqual([entry.name for entry in self.out.iterdir()], ["tiny"])

    def test_an_unwritable_model_leaves_no_folder(self) -> None:
        with self.assertRaises(OSError):
            folder.write(self.out, Model(MANIFEST, {"model.onnx": b"", "no/such/place": b""}), "recipe-1")
        self.assertEqual(list(self.out.iterdir()), [])

    def test_a_manifest_without_its_file_is_refused(self) -> None:
        with self.assertRaises(ValueError):
            MANIFEST.to_toml(None)


class RecipeHash(unittest.TestCase):
    def test_recipes_of_one_module_differ(self) -> None:
        hashes = {registry.recipe_hash(name) for name in registry.names()}
        self.assertEqual(len(hashes), len(registry.names()))

    def test_imports_of_imports_count(self) -> None:
        found = {path.name for path in registry.sources_of("transformers")}
        self.assertLessEqual({"transformers.py", "encoder.py", "onnx_graph.py", "weights.py"}, found)
        self.assertNotIn("text_kinds.py", found)


if __name__ == "__main__":
    unittest.main()
