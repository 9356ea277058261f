"""Progress lines on standard error, so that standard output stays free for results."""

from __future__ import annotations

import sys


def say(message: str) -> None:
    """Prints one line of progress."""
    print(f"models: {message}", file=sys.stderr, flush=True)
