"""Writes dashboards and rules, or with `--check` refuses files that are not what the builder writes."""

import argparse
import re
import sys
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from . import alerts, catalogue, objectives, settings
from .cost import COST
from .functions import LAMBDA
from .jobs import JOBS
from .optimizer import OPTIMIZER
from .panels import build
from .serving import SERVING

DASHBOARDS = (COST, SERVING, OPTIMIZER, LAMBDA, JOBS)
FOLDER = Path(__file__).resolve().parent.parent
CATALOGUE = FOLDER.parent / "gateway/server/src/telemetry/catalogue.rs"


def generate() -> dict[Path, str]:
    """Contents of every generated file."""
    metrics = catalogue.read(CATALOGUE)
    chosen = settings.read(FOLDER / "settings.toml", metrics.latency_bounds)
    files = {
        FOLDER / "prometheus/objectives.yml": objectives.rules(chosen),
        FOLDER / "prometheus/alerts.yml": alerts.rules(chosen),
    }
    for page in DASHBOARDS:
        text = JSONEncoder(sort_keys=True, indent=2).encode(build(page, chosen))
        files[FOLDER / "generated" / f"{page.uid}.json"] = text + "\n"
    return files


def problems(files: dict[Path, str]) -> list[str]:
    """What is wrong beside staleness: unknown metrics, labels or rules, and links into the run-book that lead nowhere."""
    metrics = catalogue.read(CATALOGUE)
    rule_text = "".join(text for path, text in files.items() if path.suffix == ".yml")
    rule_text += (FOLDER / "prometheus/recording.yml").read_text(encoding="utf-8")
    recorded = frozenset(re.findall(r"record: (\S+)", rule_text))
    found = []
    for page in DASHBOARDS:
        expressions = [(panel.title, query.expression) for panel in page.panels() for query in panel.queries]
        expressions += [(annotation.name, annotation.expression) for annotation in page.annotations]
        for title, expression in expressions:
            found += [f"{page.title}, {title}: {problem}" for problem in metrics.problems(expression, recorded)]
    for expression in re.findall(r"expr: (.*)", rule_text):
        found += [f"rule `{expression}`: {problem}" for problem in metrics.problems(expression.replace('\\"', '"'), recorded)]
    runbook = (FOLDER.parent / "docs/runbook.md").read_text(encoding="utf-8")
    sections = set(re.findall(r"^## (\w+)$", runbook, re.MULTILINE))
    linked = {panel.runbook for page in DASHBOARDS for panel in page.panels()}
    linked |= set(re.findall(r"- alert: (\w+)", rule_text))
    found += [f"docs/runbook.md has no section `## {name}`" for name in sorted(linked - sections)]
    return found


def stale(files: dict[Path, str]) -> list[str]:
    """Generated files that are missing, old, or that nothing generates any more."""
    found = [f"{path.relative_to(FOLDER)} is stale" for path, text in files.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    orphans = set((FOLDER / "generated").glob("*")) - files.keys()
    return found + [f"{path.relative_to(FOLDER)} is not generated any more" for path in sorted(orphans)]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m dashboards.builder", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is stale")
    arguments = parser.parse_args()
    try:
        files = generate()
    except settings.SettingsError as error:
        print(f"settings.toml: {error}", file=sys.stderr)
        return 1
    found = problems(files)
    if arguments.check:
        found += stale(files)
    elif not found:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    for problem in found:
        print(problem, file=sys.stderr)
    if found and arguments.check:
        print("run: python -m dashboards.builder", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
