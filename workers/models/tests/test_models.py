"""Each built model loads, is what its manifest says, and predicts what it is known to predict."""

from __future__ import annotations

import hashlib
import json
import unittest

import numpy as np
import onnx
from PIL import Image as Picture
from sklearn.datasets import load_sample_image

from penstock_models import registry

from .support import DTYPES, model

USUAL = registry.usual_names()
ONNX_MODELS = [name for name in USUAL if name not in ("identity", "llama-tiny")]
TEXT_KINDS = [name for name in USUAL if name.startswith("text-")]
TEXTS = [
    "a great film",
    "boring , bleak and far too long",
    "",
    "the rock is destined to be the 21st century's new \" conan \" and that he's going to make a splash",
    "naïve 🙂 café",
    "word " * 300,
]


def items_for(name: str) -> list[str] | np.ndarray:
    """A few different items that the model takes."""
    (entry,) = model(name).manifest["inputs"]
    if entry["datatype"] == "BYTES":
        return TEXTS
    generator = np.random.Generator(np.random.PCG64(7))
    return generator.standard_normal((4, *entry["shape"]), dtype=np.float32)


class EveryModel(unittest.TestCase):
    def test_the_digests_in_the_manifest_are_those_of_the_files(self) -> None:
        for name in ONNX_MODELS:
            manifest = model(name).manifest
            parts = [manifest, *([manifest["tokenizer"]] if "tokenizer" in manifest else [])]
            for part in parts:
                with self.subTest(model=name, file=part["file"]):
                    content = (model(name).folder / part["file"]).read_bytes()
                    self.assertEqual(hashlib.sha256(content).hexdigest(), part["sha256"])

    def test_outputs_have_the_declared_types_and_item_shapes(self) -> None:
        for name in ONNX_MODELS:
            items = items_for(name)
            outputs = model(name).run(items)
            for declared in model(name).manifest["outputs"]:
                with self.subTest(model=name, output=declared["name"]):
                    found = outputs[declared["name"]]
                    self.assertEqual(found.dtype, DTYPES[declared["datatype"]])
                    self.assertEqual(found.shape, (len(items), *declared["shape"]))

    def test_the_manifest_names_every_output_of_the_graph(self) -> None:
        for name in ONNX_MODELS:
            with self.subTest(model=name):
                declared = {output["name"] for output in model(name).manifest["outputs"]}
                self.assertEqual(declared, {output.name for output in model(name).session.get_outputs()})

    def test_an_item_gets_the_same_answer_alone_and_in_a_batch(self) -> None:
        for name in ONNX_MODELS:
            items = items_for(name)
            together = model(name).run(items)
            for index in range(len(items)):
                alone = model(name).run(items[index : index + 1])
                for output, values in alone.items():
                    with self.subTest(model=name, item=index, output=output):
                        difference = np.abs(values[0] - together[output][index]).max()
                        self.assertLessEqual(difference, 1e-5)

    def test_seeded_weights_are_labelled(self) -> None:
        seeded = {name for name in USUAL if model(name).manifest["weights"] == "seeded"}
        self.assertEqual(seeded, {"distilbert", "bert-tiny", "llama-tiny"})


class Sentiment(unittest.TestCase):
    def test_accuracy_on_held_out_texts_is_as_published_for_such_models(self) -> None:
        least = {"imdb-sentiment": 0.87, "text-logreg": 0.73, "text-svm": 0.73, "text-random-forest": 0.64}
        for name, accuracy in least.items():
            with self.subTest(model=name):
                rows = model(name).evaluation
                labels = model(name).run([row["text"] for row in rows])["label"]
                self.assertGreater(np.mean(labels == [row["label"] for row in rows]), accuracy)

    def test_the_label_is_the_more_probable_class(self) -> None:
        for name in ["imdb-sentiment", "text-logreg", "text-random-forest"]:
            with self.subTest(model=name):
                answer = model(name).run(["a great film , moving and funny", "awful , boring mess"])
                np.testing.assert_array_equal(answer["label"], answer["probabilities"].argmax(axis=1))
                np.testing.assert_allclose(answer["probabilities"].sum(axis=1), 1, atol=1e-5)

    def test_evaluation_sets_have_the_promised_size_and_both_classes(self) -> None:
        for name, count in {"imdb-sentiment": 2_000, "text-svm": 1_000, "minilm": 1_000}.items():
            with self.subTest(model=name):
                labels = [row["label"] for row in model(name).evaluation]
                self.assertEqual(len(labels), count)
                self.assertAlmostEqual(float(np.mean(labels)), 0.5, delta=0.05)


class TextKinds(unittest.TestCase):
    def test_there_are_six(self) -> None:
        self.assertEqual(len(TEXT_KINDS), 6)

    def test_the_graph_answers_what_scikit_learn_answers(self) -> None:
        for name in TEXT_KINDS:
            expected = json.loads((model(name).folder / "expected.json").read_text())
            found = model(name).run(expected["texts"])
            self.assertEqual(set(found), set(expected["outputs"]))
            for output, values in expected["outputs"].items():
                with self.subTest(model=name, output=output):
                    self.assertGreater(len(np.unique(np.array(values))), 1)
                    np.testing.assert_allclose(found[output], values, atol=2e-5)


class Unsupervised(unittest.TestCase):
    def test_a_cluster_is_the_nearest_or_most_probable_one(self) -> None:
        texts = [row["text"] for row in model("text-kmeans").evaluation[:200]]
        nearest = model("text-kmeans").run(texts)
        np.testing.assert_array_equal(nearest["label"], nearest["scores"].argmin(axis=1))
        mixed = model("text-gmm").run(texts)
        np.testing.assert_array_equal(mixed["label"][:, 0], mixed["probabilities"].argmax(axis=1))
        self.assertGreater(len(set(nearest["label"])), 1)
        self.assertGreater(len(set(mixed["label"][:, 0])), 1)

    def test_early_components_spread_wider_than_late_ones(self) -> None:
        texts = [row["text"] for row in model("text-pca").evaluation]
        spread = model("text-pca").run(texts)["components"].var(axis=0)
        self.assertGreater(spread[:5].mean(), 2 * spread[-5:].mean())


class Transformers(unittest.TestCase):
    def test_minilm_gives_the_published_similarity(self) -> None:
        pair = ["A man is eating food.", "A man is eating a piece of bread."]
        first, second = model("minilm").run(pair)["embedding"]
        self.assertAlmostEqual(float(first @ second), 0.7553, delta=1e-3)

    def test_minilm_gives_the_published_vector(self) -> None:
        vector = model("minilm").run(["This is an example sentence"])["embedding"][0]
        np.testing.assert_allclose(vector[:3], [0.06765692, 0.06349588, 0.04871314], atol=1e-5)
        self.assertAlmostEqual(float(np.linalg.norm(vector)), 1.0, places=5)

    def test_seeded_models_have_as_many_parameters_as_the_published_ones(self) -> None:
        for name, published in {"distilbert": 66_955_010, "bert-tiny": 4_386_178}.items():
            with self.subTest(model=name):
                graph = onnx.load(str(model(name).folder / "model.onnx")).graph
                sizes = [int(np.prod(entry.dims)) for entry in graph.initializer if entry.data_type == 1]
                self.assertEqual(sum(size for size in sizes if size > 1), published)

    def test_the_tokenizer_neither_pads_nor_cuts(self) -> None:
        for name in ["minilm", "distilbert", "bert-tiny"]:
            with self.subTest(model=name):
                content = (model(name).folder / "tokenizer.json").read_text()
                self.assertIn('"truncation":null,"padding":null', content)
                self.assertEqual(model(name).manifest["max_length"], 128)


class Image(unittest.TestCase):
    def test_photographs_are_recognised(self) -> None:
        labels = (model("efficientnet-lite0").folder / "labels.txt").read_text().splitlines()
        photographs = np.stack([photograph("china.jpg"), photograph("flower.jpg")])
        answer = model("efficientnet-lite0").run(photographs)
        palace, flower = answer["probabilities"]
        self.assertEqual(len(labels), 1_000)
        self.assertEqual(labels[int(palace.argmax())], "palace")
        self.assertIn("daisy", [labels[index] for index in flower.argsort()[-5:]])
        self.assertAlmostEqual(float(palace.sum()), 1.0, places=4)


class Identity(unittest.TestCase):
    def test_numbers_come_back_as_they_were(self) -> None:
        items = items_for("identity-onnx")
        np.testing.assert_array_equal(model("identity-onnx").run(items)["y"], items)

    def test_the_twin_without_a_file_declares_the_same_tensors(self) -> None:
        bare, twin = model("identity").manifest, model("identity-onnx").manifest
        self.assertEqual((bare["inputs"], bare["outputs"]), (twin["inputs"], twin["outputs"]))
        self.assertEqual(bare["engine"], "identity")
        self.assertNotIn("file", bare)


def photograph(name: str) -> np.ndarray:
    """A sample photograph as the network takes it: the middle square, 224 × 224, (pixel − 127) / 128."""
    picture = Picture.fromarray(load_sample_image(name))
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    picture = picture.crop((left, top, left + side, top + side))
    picture = picture.resize((224, 224), Picture.Resampling.BICUBIC)
    return ((np.asarray(picture, np.float32) - 127) / 128).transpose(2, 0, 1)


if __name__ == "__main__":
    unittest.main()
