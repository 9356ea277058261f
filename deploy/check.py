"""Checks everything in this folder that can be checked without an account, and prints a summary. Exit code 1 if anything failed.

    deploy/check.sh                      # linters, parsers, units, scripts
    deploy/check.sh --with-standin       # also a deployment into the stand-in; needs built binaries

Run it through `check.sh`, which brings the pinned linters. What is skipped for want of a tool is said. Suppressions stand where they apply, each with its reason.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

DEPLOY = Path(__file__).resolve().parent
TOOLS = Path(sys.executable).parent
TEMPLATES = sorted((DEPLOY / "cloudformation").glob("*.yaml"))
# systemd's own measure, 0 (tight) to 10 (open); the unit stands at 1.4.
MOST_EXPOSURE = 15


def steps(options: argparse.Namespace) -> list[tuple[str, list[str], str]]:
    """Name, command, and the tool without which it is skipped (empty: needed)."""
    names = [str(path) for path in TEMPLATES]
    scripts = [str(path) for path in [*DEPLOY.glob("*.sh"), *DEPLOY.glob("worker/*.sh")]]
    checkov = [str(TOOLS / "checkov"), "--skip-download", "--compact", "--quiet", "--framework"]
    unit = str(DEPLOY / "systemd/penstock.service")
    sockets = [str(DEPLOY / f"systemd/{name}.socket") for name in ("penstock", "penstock-admin")]
    found = [
        ("state machine", [sys.executable, str(DEPLOY / "check_states.py")], ""),
        ("cfn-lint", [str(TOOLS / "cfn-lint"), *names], ""),
        *[(f"sam validate {path.name}", [str(TOOLS / "sam"), "validate", "--lint", "--region", "us-east-1", "-t", str(path)], "") for path in TEMPLATES],
        ("checkov CloudFormation", [*checkov, "cloudformation", "-d", str(DEPLOY / "cloudformation")], ""),
        ("checkov Terraform", [*checkov, "terraform", "-d", str(DEPLOY / "terraform")], ""),
        ("terraform fmt", ["terraform", "fmt", "-check", "-diff", str(DEPLOY / "terraform")], "terraform"),
        ("systemd-analyze security", ["systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSURE}", "--no-pager", unit], "systemd-analyze"),
        ("systemd-analyze verify", ["systemd-analyze", "verify", "--man=false", *sockets], "systemd-analyze"),
        *[(f"sh -n {Path(script).name}", ["sh", "-n", script], "") for script in scripts],
    ]
    if options.with_standin:
        words = ["--penstock", str(options.penstock), "--bootstrap", str(options.bootstrap), "--state-copy", options.state_copy]
        found.append(("stand-in", [str(DEPLOY / "standin.sh"), *words], ""))
        found.append(("stand-in, bulk jobs", [str(DEPLOY / "standin-bulk.sh"), *words[:4]], ""))
    return found


def main() -> int:
    """Runs the steps one after the other; a failed one shows its output."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--with-standin", action="store_true")
    parser.add_argument("--penstock", type=Path, default=DEPLOY.parent / "target/release/penstock")
    parser.add_argument("--bootstrap", type=Path, default=DEPLOY.parent / "target/release/bootstrap")
    parser.add_argument("--state-copy", choices=("s3", "none"), default="s3")
    environment = os.environ | {"SAM_CLI_TELEMETRY": "0", "AWS_EC2_METADATA_DISABLED": "true"}
    results: list[tuple[str, str, float]] = []
    for name, command, tool in steps(parser.parse_args()):
        started = time.monotonic()
        if tool and not shutil.which(tool):
            results.append((name, f"skipped: no {tool} here", 0.0))
            continue
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        results.append((name, "ok" if done.returncode == 0 else "FAILED", time.monotonic() - started))
        if done.returncode != 0:
            print(f"--- {name}\n{done.stdout[-8000:]}")
    for name, result, seconds in results:
        print(f"{name:32} {result:28} {seconds:6.1f} s")
    return 1 if any(result == "FAILED" for _, result, _ in results) else 0


if __name__ == "__main__":
    sys.exit(main())
