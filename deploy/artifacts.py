"""Makes the artefacts of a deployment: worker zip, gateway archive, configuration archive, Debian package.

Each is the same, byte for byte, for the same inputs, so that its digest can be its name. Nothing is compiled here.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import subprocess
import tarfile
import tomllib
import zipfile
from pathlib import Path

DEPLOY = Path(__file__).resolve().parent
ROOT = DEPLOY.parent
# A fixed time keeps archives equal; zip cannot hold years before 1980.
ZIP_TIME = (1980, 1, 1, 0, 0, 0)
# Amazon Linux 2023, the host's image and Lambda's runtime, has glibc 2.34.
AL2023_GLIBC = (2, 34)


class ArtifactError(Exception):
    """An artefact cannot be made; the text says what to do."""


def digest(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def needed_glibc(binary: Path) -> tuple[int, int]:
    """The newest glibc symbol version that a binary names; (0, 0) if it is static. May name one that is weak."""
    found = re.findall(rb"GLIBC_(\d+)\.(\d+)", binary.read_bytes())
    return max(((int(major), int(minor)) for major, minor in found), default=(0, 0))


def check_glibc(binary: Path, newest: tuple[int, int]) -> None:
    """Fails if `binary` would not start where it goes."""
    needed = needed_glibc(binary)
    if needed > newest:
        raise ArtifactError(
            f"{binary} needs glibc {needed[0]}.{needed[1]}, its target has {newest[0]}.{newest[1]}: build it with "
            "`cargo zigbuild --release --target ARCH-unknown-linux-gnu.2.34`, or on a system with that glibc"
        )


def machine(binary: Path) -> str:
    """Lambda's name of the processor an ELF file is for."""
    head = binary.read_bytes()[:20]
    names = {62: "x86_64", 183: "arm64"}
    number = int.from_bytes(head[18:20], "little")
    if head[:4] != b"\x7fELF" or number not in names:
        raise ArtifactError(f"{binary} is no Linux binary for x86_64 or arm64")
    return names[number]


def model_files(folder: Path) -> list[Path]:
    """`model.toml` and every file that it names."""
    manifest = folder / "model.toml"
    if not manifest.is_file():
        raise ArtifactError(f"{folder} has no model.toml")

    def named(table: object) -> list[str]:
        if isinstance(table, dict):
            here = [table["file"]] if isinstance(table.get("file"), str) else []
            return here + [name for value in table.values() for name in named(value)]
        if isinstance(table, list):
            return [name for value in table for name in named(value)]
        return []

    files = [manifest] + [folder / name for name in dict.fromkeys(named(tomllib.loads(manifest.read_text())))]
    for file in files:
        if not file.is_file():
            raise ArtifactError(f"{manifest} names {file.name}, which is not there")
    return files


def worker_zip(bootstrap: Path, model: Path | None, onnxruntime: Path) -> bytes:
    """The function's package. Without `model` its entry point fetches the model from S3."""
    entries: list[tuple[str, Path, int]] = [("lib/libonnxruntime.so", onnxruntime, 0o755)]
    if model is None:
        entries += [("bootstrap", DEPLOY / "worker/bootstrap-s3.sh", 0o755), ("penstock-worker", bootstrap, 0o755)]
    else:
        entries += [("bootstrap", bootstrap, 0o755)]
        entries += [(f"model/{file.name}", file, 0o644) for file in model_files(model)]
    unpacked = sum(path.stat().st_size for _, path, _ in entries)
    if unpacked > 250 * 2**20:
        raise ArtifactError(f"the package is {unpacked >> 20} MiB unpacked, Lambda takes 250: use --model-in s3 or an image")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, path, mode in sorted(entries):
            info = zipfile.ZipInfo(name, ZIP_TIME)
            info.external_attr = (0o100000 | mode) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, path.read_bytes())
    return out.getvalue()


def tar_gz(entries: dict[str, tuple[bytes, int]]) -> bytes:
    """A compressed archive of name → (content, mode), owned by root."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(entries):
            data, mode = entries[name]
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), mode
            archive.addfile(info, io.BytesIO(data))
    return gzip.compress(plain.getvalue(), 6, mtime=0)


def gateway_files(penstock: Path) -> dict[str, tuple[bytes, int]]:
    """What a host gets, by its path from the root."""
    plain = {
        "usr/lib/systemd/system/penstock.service": DEPLOY / "systemd/penstock.service",
        "usr/lib/systemd/system/penstock.socket": DEPLOY / "systemd/penstock.socket",
        "usr/lib/systemd/system/penstock-admin.socket": DEPLOY / "systemd/penstock-admin.socket",
        "usr/lib/systemd/system/penstock-log.service": DEPLOY / "systemd/penstock-log.service",
        "etc/logrotate.d/penstock": DEPLOY / "systemd/penstock.logrotate",
        "usr/share/doc/penstock/penstock.example.toml": ROOT / "gateway/penstock.example.toml",
        "usr/share/doc/penstock/operations.md": ROOT / "docs/operations.md",
        "usr/share/doc/penstock/config.md": ROOT / "docs/config.md",
        "usr/share/doc/penstock/copyright": ROOT / "LICENSE",
    }
    files = {name: (path.read_bytes(), 0o644) for name, path in plain.items()}
    return files | {"usr/bin/penstock": (penstock.read_bytes(), 0o755)}


def gateway_archive(penstock: Path) -> bytes:
    """The gateway for hosts without a package manager of ours: unpack at the root."""
    return tar_gz(gateway_files(penstock))


def version() -> str:
    """The workspace's version."""
    return str(tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"])


def debian_package(penstock: Path, out: Path) -> Path:
    """Builds the .deb into the folder `out` with `dpkg-deb`; the service is not started by its installation."""
    architecture = {"x86_64": "amd64", "arm64": "arm64"}[machine(penstock)]
    glibc = needed_glibc(penstock)
    root = out / f"penstock_{version()}_{architecture}"
    for name, (data, mode) in gateway_files(penstock).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(mode)
    (root / "DEBIAN").mkdir(exist_ok=True)
    size_kib = sum(len(data) for data, _ in gateway_files(penstock).values()) // 1024
    (root / "DEBIAN/control").write_text(
        f"Package: penstock\nVersion: {version()}\nArchitecture: {architecture}\nMaintainer: Penstock\n"
        f"Installed-Size: {size_kib}\nDepends: libc6 (>= {glibc[0]}.{glibc[1]}), libgcc-s1, ca-certificates\n"
        "Section: net\nPriority: optional\nDescription: adaptive serving gateway for inference on AWS Lambda\n"
        " Buffers requests, packs them into batches, and answers each with its cost.\n"
    )
    (root / "DEBIAN/conffiles").write_text("/etc/logrotate.d/penstock\n")
    for folder in [path for path in root.rglob("*") if path.is_dir()]:
        folder.chmod(0o755)
    package = out / f"{root.name}.deb"
    # The same time in every package, as in the archives.
    environment = os.environ | {"SOURCE_DATE_EPOCH": "315532800"}
    command = ["dpkg-deb", "--root-owner-group", "--build", str(root), str(package)]
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return package
