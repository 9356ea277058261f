"""Loads a gateway, lets Prometheus scrape it, and counts panels without data. Exit code 1 if there are any, or if a rule fails."""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from .load import Load
from .queries import Span, ask, rules
from .stack import Parts, Stack

RULES_SECONDS = 6
FOLDER = Path(__file__).resolve().parent.parent


def main() -> int:
    arguments = _arguments()
    files = (arguments.penstock, arguments.bootstrap, arguments.onnxruntime, arguments.models)
    parts = Parts(*(path.resolve() for path in files), arguments.prometheus)
    with Stack(parts, arguments.folder.resolve()) as stack:
        begin = time.time()
        load = Load(stack, arguments.models / "imdb-sentiment/eval.jsonl", arguments.seconds)
        print(f"dashboards: load for {arguments.seconds:.0f} s; Prometheus at {stack.prometheus_url}", file=sys.stderr)
        load.run()
        # Rules are evaluated every five seconds. What comes after the load is not asked for: figures show its last moment.
        span = Span(begin, begin + arguments.seconds)
        time.sleep(RULES_SECONDS)
        panels, annotations = ask(stack.prometheus_url, FOLDER / "generated", span)
        broken, active = rules(stack.prometheus_url)
        checked = {
            "rules_with_errors": broken,
            "alerts_active": active,
            "check_metrics_complaints": _check_metrics(stack.metrics()),
            "gateway_has_jobs": stack.has_jobs,
            "answers_by_status": dict(sorted(load.answers.items())),
        }
    report = {**_report(panels, annotations), **checked}
    if arguments.data:
        _write_data(arguments.data, panels, annotations, span)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    _show(report)
    return 1 if report["panels_without_data"] or report["rules_with_errors"] else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m dashboards.verify", description=__doc__)
    parser.add_argument("--penstock", type=Path, required=True, help="the command")
    parser.add_argument("--bootstrap", type=Path, required=True, help="the worker")
    parser.add_argument("--onnxruntime", type=Path, required=True, help="libonnxruntime.so")
    parser.add_argument("--models", type=Path, required=True, help="folder with `imdb-sentiment` and `identity`")
    parser.add_argument("--prometheus", default="prometheus", help="the server; promtool is beside it")
    parser.add_argument("--folder", type=Path, required=True, help="for configuration and logs of the run; emptied first")
    parser.add_argument("--seconds", type=float, default=240.0, help="length of the load")
    parser.add_argument("--json", type=Path, help="write the figures")
    parser.add_argument("--data", type=Path, help="write all series, for `dashboards/render`")
    return parser.parse_args()


def _check_metrics(text: str) -> list[str]:
    """What `promtool check metrics` says against the gateway's own metrics."""
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    return [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]


def _report(panels: list, annotations: list) -> dict:
    def names(answers: list, wanted) -> list[str]:
        return [f"{answer.dashboard}: {answer.panel['title']}" for answer in answers if wanted(answer)]

    without = names(panels, lambda answer: not answer.has_data)
    return {
        "panels": len(panels),
        "panels_without_data": len(without),
        "without_data": without,
        "queries": sum(len(answer.panel["targets"]) for answer in panels),
        "queries_without_data": [
            f"{answer.dashboard}: {answer.panel['title']} ({', '.join(answer.empty_queries)})" for answer in panels if answer.empty_queries
        ],
        "panels_always_zero": names(panels, lambda answer: answer.is_always_zero),
        "annotations": len(annotations),
        "annotations_without_data": names(annotations, lambda answer: not answer.has_data),
    }


def _write_data(path: Path, panels: list, annotations: list, span: Span) -> None:
    dashboards: dict[str, dict] = {}
    for answer in panels:
        page = dashboards.setdefault(answer.dashboard, {"panels": [], "annotations": []})
        page["panels"].append({"panel": answer.panel, "series": answer.series})
    for answer in annotations:
        dashboards[answer.dashboard]["annotations"].append({"annotation": answer.panel, "series": answer.series})
    path.write_text(json.dumps({"begin": span.begin, "end": span.end, "dashboards": dashboards}), encoding="utf-8")


def _show(report: dict) -> None:
    print(f"{report['panels']} panels, {report['panels_without_data']} without data")
    for name in report["without_data"]:
        print(f"  no data      {name}")
    for name in report["queries_without_data"]:
        print(f"  no data in   {name}")
    for name in report["panels_always_zero"]:
        print(f"  always zero  {name}")
    for name in report["annotations_without_data"]:
        print(f"  no moments   {name} (annotation)")
    for line in report["rules_with_errors"]:
        print(f"  rule fails   {line}")
    for line in report["check_metrics_complaints"]:
        print(f"  promtool     {line}")
    print(f"alerts: {', '.join(report['alerts_active']) or 'none'}")
    print(f"answers by status: {report['answers_by_status']}")


if __name__ == "__main__":
    sys.exit(main())
