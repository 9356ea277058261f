"""The checks of one client: each is a function of the session that raises if something does not hold."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

CHECKS: list[Callable[[Any], None]] = []


def check(function: Callable[[Any], None]) -> Callable[[Any], None]:
    """Adds a check to the run."""
    CHECKS.append(function)
    return function


def run_checks(session: Any) -> int:
    """Runs all of them in order and reports each; gives how many failed."""
    failed = 0
    for function in CHECKS:
        began = time.monotonic()
        try:
            function(session)
        except Exception as error:  # noqa: BLE001 - each check is reported, whatever it raises
            failed += 1
            print(f"FAILED {function.__name__}: {type(error).__name__}: {error}")
        else:
            print(f"ok     {function.__name__} ({time.monotonic() - began:.1f} s)")
    return failed
