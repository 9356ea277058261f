"""Writes a software bill of materials (CycloneDX 1.6, JSON) of one binary from `cargo metadata` and Cargo.lock.

Only what is linked into the binary on Linux is listed: normal dependencies, no build or development ones. The same lock gives the same file,
so it has no time and a serial number made from its content.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tomllib
import uuid
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TARGETS = {"x86_64": "x86_64-unknown-linux-gnu", "arm64": "aarch64-unknown-linux-gnu"}


def metadata(architecture: str) -> dict[str, Any]:
    """What cargo resolves for the locked workspace."""
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", TARGETS[architecture]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        raise OSError(f"`cargo metadata` failed: {done.stderr.strip()}")
    return dict(json.loads(done.stdout))


def linked(resolve: dict[str, Any], root: str) -> dict[str, list[str]]:
    """Package id → ids it links, for everything that `root` links."""
    nodes = {node["id"]: node for node in resolve["nodes"]}
    found: dict[str, list[str]] = {}
    waiting = [root]
    while waiting:
        identity = waiting.pop()
        if identity in found:
            continue
        kinds = [(dep["pkg"], [kind["kind"] for kind in dep["dep_kinds"]]) for dep in nodes[identity]["deps"]]
        found[identity] = sorted(package for package, kind in kinds if None in kind)
        waiting += found[identity]
    return found


def component(package: dict[str, Any], checksums: dict[tuple[str, str], str]) -> dict[str, Any]:
    """One package as CycloneDX names it."""
    name, version = package["name"], package["version"]
    purl = f"pkg:cargo/{name}@{version}"
    entry: dict[str, Any] = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
    if package.get("license"):
        entry["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    if checksum := checksums.get((name, version)):
        entry["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    return entry


def bill(package: str, architecture: str) -> dict[str, Any]:
    """The bill of the binary that the workspace member `package` builds."""
    found = metadata(architecture)
    packages = {entry["id"]: entry for entry in found["packages"]}
    root = next(identity for identity in found["workspace_members"] if packages[identity]["name"] == package)
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    checksums = {(entry["name"], entry["version"]): entry.get("checksum", "") for entry in lock["package"]}
    graph = linked(found["resolve"], root)
    parts = {identity: component(packages[identity], checksums) for identity in graph}
    main = parts[root] | {"type": "application"}
    reference = {identity: part["bom-ref"] for identity, part in parts.items()}
    body: dict[str, Any] = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": main},
        "components": sorted((part for identity, part in parts.items() if identity != root), key=lambda part: part["bom-ref"]),
        "dependencies": sorted(
            ({"ref": reference[one], "dependsOn": sorted(reference[other] for other in others)} for one, others in graph.items()),
            key=lambda entry: entry["ref"],
        ),
    }
    return {"serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(body, sort_keys=True))}"} | body


def main() -> int:
    """Writes it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package", help="workspace member, for example gateway-cli")
    parser.add_argument("--architecture", choices=sorted(TARGETS), default="x86_64")
    parser.add_argument("--out", type=Path, help="default: standard output")
    options = parser.parse_args()
    text = json.dumps(bill(options.package, options.architecture), indent=1) + "\n"
    options.out.write_text(text) if options.out else sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
