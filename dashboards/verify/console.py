"""Loads a gateway as the dashboards' check does, waits until the load has changed and another plan serves, then runs the check of `/console` in a browser.

The check itself is `xtask/clients/console/check.mjs`. Exit code 1 if it finds anything.
"""

import argparse
import json
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

from .load import Load
from .stack import ADAPTIVE, Parts, Stack

# Sizes of one vCPU and a little more: what this needs is choices, not speed.
MEMORY_MIB = (512, 1024, 1769, 3008)
# At the high rate more items come within the objective than a batch of the low rate's plan holds, so that another plan must follow.
STEPS = (6.0, 80.0, 6.0)
MAX_BATCH_SIZE = 64


# Seconds after a change of the load within which another plan is waited for; the tuner may also find that the one in force is still the best.
PLAN_SECONDS = 40


class NothingHappened(RuntimeError):
    """The load passed without what the check is to see."""


def main() -> int:
    arguments = _arguments()
    files = (arguments.penstock, arguments.bootstrap, arguments.onnxruntime, arguments.models)
    parts = Parts(*(path.resolve() for path in files), prometheus=None, memory_mib=MEMORY_MIB, max_process_count=2, max_batch_size=MAX_BATCH_SIZE)
    with Stack(parts, arguments.folder.resolve()) as stack:
        load = Load(stack, arguments.models / "imdb-sentiment/eval.jsonl", arguments.seconds, STEPS)
        sending = threading.Thread(target=load.run, daemon=True)
        sending.start()
        print(f"console: load for {arguments.seconds:.0f} s; http://127.0.0.1:{stack.admin}/console", file=sys.stderr)
        _wait_for_change(stack, arguments.seconds)
        command = ["node", arguments.check, "--url", f"http://127.0.0.1:{stack.admin}", "--chromium", arguments.chromium, "--model", ADAPTIVE]
        for option in ("screenshots", "json"):
            if getattr(arguments, option):
                command += [f"--{option}", getattr(arguments, option).resolve()]
        status = subprocess.run(command, check=False).returncode
        if arguments.keep:
            print("console: kept until Ctrl-C", file=sys.stderr)
            _until_interrupted()
    return status


def _wait_for_change(stack: Stack, seconds: float) -> None:
    """Returns when a change of the load was seen, another plan serves than the configured one, and several seconds have passed under both."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with urllib.request.urlopen(f"http://127.0.0.1:{stack.admin}/control/models/{ADAPTIVE}/history", timeout=10) as answer:
            history = json.load(answer)
        changes = [event["at"] for event in history["decisions"] if event["what"]["action"] == "change_point"]
        plans = [plan["at_s"] for plan in history["plans"]][1:]
        if changes and plans:
            passed = history["now_s"] - changes[0]
            if passed > PLAN_SECONDS or (passed > 10 and max(plans) >= changes[0]):
                return
        time.sleep(1.0)
    raise NothingHappened("no change of the load, or no other plan, within the load")


def _until_interrupted() -> None:
    try:
        while True:
            time.sleep(1.0)
    except KeyboardInterrupt:
        pass


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m dashboards.verify.console", description=__doc__)
    parser.add_argument("--penstock", type=Path, required=True, help="the command")
    parser.add_argument("--bootstrap", type=Path, required=True, help="the worker")
    parser.add_argument("--onnxruntime", type=Path, required=True, help="libonnxruntime.so")
    parser.add_argument("--models", type=Path, required=True, help="folder with `imdb-sentiment` and `identity`")
    parser.add_argument("--folder", type=Path, required=True, help="for configuration and logs of the run; emptied first")
    parser.add_argument("--check", type=Path, required=True, help="the check, beside its packages")
    parser.add_argument("--chromium", required=True, help="the browser")
    parser.add_argument("--seconds", type=float, default=300.0, help="length of the load")
    parser.add_argument("--screenshots", type=Path, help="folder for screenshots")
    parser.add_argument("--json", type=Path, help="write the figures")
    parser.add_argument("--keep", action="store_true", help="keep serving after the check")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
