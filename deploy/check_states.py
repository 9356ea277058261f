"""Checks the state machine of bulk jobs: `stepfunctions/bulk.asl.json` against cfn-lint's schema of the States Language, and against its copy in
`cloudformation/bulk.yaml`.

cfn-lint's own rule is off for that template: its schema wants `ResultWriter` to be a text, where Step Functions wants an object. Here that is mended.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import cfnlint
import cfnlint.decode
import jsonschema

DEPLOY = Path(__file__).resolve().parent
SCHEMA = Path(cfnlint.__file__).parent / "data/schemas/other/step_functions/statemachine.json"


def schema() -> dict[str, Any]:
    """The schema, mended."""
    read: dict[str, Any] = json.loads(SCHEMA.read_text())
    read["definitions"]["map"]["properties"]["ResultWriter"] = {"type": "object", "required": ["Resource", "Parameters"]}
    return read


def differences(ours: Any, theirs: Any, at: str) -> list[str]:
    """Places where two documents differ."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        found = [f"{at}.{key} is in one only" for key in sorted(set(ours) ^ set(theirs))]
        return found + [line for key in sorted(set(ours) & set(theirs)) for line in differences(ours[key], theirs[key], f"{at}.{key}")]
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        return [line for index, pair in enumerate(zip(ours, theirs)) for line in differences(*pair, f"{at}[{index}]")]
    return [] if ours == theirs else [f"{at}: {ours!r} and {theirs!r}"]


def main() -> int:
    """1 if it is not valid or they differ."""
    definition = json.loads((DEPLOY / "stepfunctions/bulk.asl.json").read_text())
    validator = jsonschema.validators.validator_for(schema())(schema())
    found = [f"bulk.asl.json, {error.json_path}: {error.message}" for error in validator.iter_errors(definition)]
    template, problems = cfnlint.decode.decode(str(DEPLOY / "cloudformation/bulk.yaml"))
    found += [str(problem) for problem in problems]
    if template:
        found += differences(template["Resources"]["StateMachine"]["Properties"]["Definition"], definition, "Definition")
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
