"""Makes a release's files from built binaries: worker zip, gateway archive, .deb, bills of materials, checksums. Nothing is compiled.

    python3 deploy/release.py --out target/release-files                       # binaries of `cargo build --release`
    python3 deploy/release.py --target-dir target/x86_64-unknown-linux-gnu/release --max-glibc 2.34
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import artifacts
import sbom
from artifacts import ArtifactError, digest


def make(options: argparse.Namespace) -> list[Path]:
    """Writes the files; gives their paths."""
    penstock, bootstrap = options.target_dir / "penstock", options.target_dir / "bootstrap"
    limit = tuple(map(int, options.max_glibc.split(".")))
    for binary in (penstock, bootstrap):
        artifacts.check_glibc(binary, limit)
    architecture = artifacts.machine(penstock)
    stem = f"{artifacts.version()}-linux-{architecture}"
    options.out.mkdir(parents=True, exist_ok=True)
    files = {
        f"penstock-{stem}.tar.gz": artifacts.gateway_archive(penstock),
        # Without a model: its entry point fetches one from S3.
        f"penstock-worker-{stem}.zip": artifacts.worker_zip(bootstrap, None, options.onnxruntime),
    }
    for package, name in (("gateway-cli", "penstock"), ("workers-runtime", "penstock-worker")):
        files[f"{name}-{stem}.cdx.json"] = (json.dumps(sbom.bill(package, architecture), indent=1) + "\n").encode()
    for name, data in files.items():
        (options.out / name).write_bytes(data)
    paths = [options.out / name for name in files]
    if shutil.which("dpkg-deb"):
        with tempfile.TemporaryDirectory() as folder:
            built = artifacts.debian_package(penstock, Path(folder))
            paths.append(Path(shutil.copy(built, options.out)))
    else:
        print("release: no dpkg-deb here, so no .deb", file=sys.stderr)
    sums = "".join(f"{digest(path.read_bytes())}  {path.name}\n" for path in sorted(paths))
    (options.out / f"SHA256SUMS-{architecture}").write_text(sums)
    return paths


def main() -> int:
    """Makes them and lists them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target-dir", type=Path, default=artifacts.ROOT / "target/release", help="folder of the built binaries")
    parser.add_argument("--onnxruntime", type=Path, default=artifacts.ROOT / "target/penstock/onnxruntime/lib/libonnxruntime.so")
    parser.add_argument("--out", type=Path, default=artifacts.ROOT / "target/release-files")
    parser.add_argument("--max-glibc", default="2.36", help="newest allowed; 2.36 is Debian 12, 2.34 Amazon Linux 2023")
    options = parser.parse_args()
    try:
        for path in make(options):
            print(f"{path.stat().st_size:>12}  {path.name}")
    except (ArtifactError, OSError, subprocess.CalledProcessError) as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
