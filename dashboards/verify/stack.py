"""Starts the local Lambda, a gateway with two models and, unless it is not wanted, a Prometheus that scrapes it each second; all on loopback."""

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

ADAPTIVE = "reviews"  # its plan is chosen by the optimizer
PINNED = "echo"  # its worker obeys words that break it
READY_SECONDS = 120


@dataclass(frozen=True)
class Parts:
    """What is started, and where it is found."""

    penstock: Path
    bootstrap: Path
    onnxruntime: Path
    models: Path
    prometheus: str | None
    """The server; `None`: none is started."""
    memory_mib: tuple[int, ...] = (512, 1024, 1769)
    """Sizes of the adaptive model."""
    max_process_count: int = 1
    """Most processes of the adaptive model."""
    max_batch_size: int = 32
    """Largest batch that its policy may choose."""


class StartError(RuntimeError):
    """A part did not start; says where its log is."""


class Stack:
    """The running parts. Leaving the context stops them, Prometheus's data is deleted."""

    def __init__(self, parts: Parts, folder: Path) -> None:
        self._parts, self._folder = parts, folder
        self._children: list[tuple[str, subprocess.Popen]] = []
        self.public, self.admin, self._lambda, self._prometheus = free_ports(4)
        schema = subprocess.run([parts.penstock, "reference", "config-schema"], capture_output=True, text=True, check=True).stdout
        properties = json.loads(schema)["properties"]
        # Older gateways have no bulk jobs; everything else is checked all the same.
        self.has_jobs = "bulk" in properties
        self._has_hold_out = "hold_out_share" in schema

    @property
    def prometheus_url(self) -> str:
        """Where Prometheus answers."""
        return f"http://127.0.0.1:{self._prometheus}"

    def __enter__(self) -> "Stack":
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        try:
            penstock = str(self._parts.penstock)
            self._start("emulator", [penstock, "emulate", "--config", self._write("emulator.toml", self._emulator())])
            self._wait("emulator", f"http://127.0.0.1:{self._lambda}/_penstock/health")
            self._start("gateway", [penstock, "serve", "--config", self._write("gateway.toml", self._gateway())])
            self._wait("gateway", f"http://127.0.0.1:{self.public}/v2/health/ready")
            if self._parts.prometheus is not None:
                self._start("prometheus", self._prometheus_command(self._parts.prometheus))
                self._wait("prometheus", f"{self.prometheus_url}/-/ready")
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def gateway_pid(self) -> int:
        """Process id of the gateway."""
        return next(child.pid for name, child in self._children if name == "gateway")

    def metrics(self) -> str:
        """What the gateway's admin listener gives to Prometheus."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=10) as answer:
            return answer.read().decode()

    def _stop(self) -> None:
        for _, child in reversed(self._children):
            child.terminate()
        for _, child in reversed(self._children):
            try:
                child.wait(40)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self._children.clear()
        shutil.rmtree(self._folder / "prometheus-data", ignore_errors=True)

    def _write(self, name: str, text: str) -> str:
        path = self._folder / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    def _start(self, name: str, command: list[str]) -> None:
        with (self._folder / f"{name}.log").open("wb") as log:
            self._children.append((name, subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)))

    def _wait(self, name: str, url: str) -> None:
        child = next(child for each, child in self._children if each == name)
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline and child.poll() is None:
            try:
                with urllib.request.urlopen(url, timeout=5):
                    return
            except OSError:
                time.sleep(0.1)
        raise StartError(f"{name} is not ready; its log: {self._folder / f'{name}.log'}")

    def _emulator(self) -> str:
        package = self._folder / "package"
        (package / "lib").mkdir(parents=True)
        shutil.copy(self._parts.bootstrap, package / "bootstrap")
        shutil.copy(self._parts.onnxruntime, package / "lib/libonnxruntime.so")
        text = f"""listen = "127.0.0.1:{self._lambda}"
state_dir = {_quoted(self._folder / "emulator")}

[metering]
cpu_scale = 1.0

[limits]
account_concurrency = 20

[[fault]]
function = "penstock-{PINNED}"
every = 40
action = {{ kind = "throttle" }}

[[fault]]
function = "penstock-{PINNED}"
after = 20
every = 90
action = {{ kind = "kill" }}
"""
        for name, model, memory in ((ADAPTIVE, "imdb-sentiment", list(self._parts.memory_mib)), (PINNED, "identity", [512])):
            text += f"""
[[function]]
name = "penstock-{name}"
package_dir = {_quoted(package)}
memory_mib = {memory}
timeout_seconds = 60
links = {{ model = {_quoted(self._parts.models / model)} }}
environment = {{ PENSTOCK_IDENTITY_FAULTS = "1" }}
"""
        return text

    def _gateway(self) -> str:
        bulk = f"[bulk]\ndirectory = {_quoted(self._folder / 'bulk')}\n" if self.has_jobs else ""
        hold_out = "hold_out_share = 0.05\n" if self._has_hold_out else ""
        return f"""[listen]
public_address = "127.0.0.1:{self.public}"
admin_address = "127.0.0.1:{self.admin}"

[aws]
region = "us-east-1"
endpoint_url = "http://127.0.0.1:{self._lambda}"
credentials = "static-test"

[prices]
gateway_usd_per_hour = 0.0336

[tenants]
names = ["search", "ads"]

[control]
probe_interval_ms = 5000

[state]
directory = {_quoted(self._folder / "state")}

{bulk}
[models.{ADAPTIVE}]
manifest = {_quoted(self._parts.models / "imdb-sentiment/model.toml")}
function = "penstock-{ADAPTIVE}"

[models.{ADAPTIVE}.plan]
memory_mib = 1769
max_batch_size = 4
max_queue_delay_ms = 20
slo_latency_ms = 500

[models.{ADAPTIVE}.policy]
kind = "grey_box"
memory_mib = {list(self._parts.memory_mib)}
max_process_count = {self._parts.max_process_count}
max_batch_size = {self._parts.max_batch_size}

[models.{ADAPTIVE}.policy.exploration]
batches_per_trial = 6
{hold_out}
[models.{PINNED}]
manifest = {_quoted(self._parts.models / "identity/model.toml")}
function = "penstock-{PINNED}"
default_timeout_ms = 5000

[models.{PINNED}.plan]
memory_mib = 512
max_batch_size = 8
max_queue_delay_ms = 50
slo_latency_ms = 500
queue_capacity_items = 64
max_in_flight = 4
"""

    def _prometheus_command(self, server: str) -> list[str]:
        rules = Path(__file__).resolve().parent.parent / "prometheus"
        config = f"""global:
  scrape_interval: 1s
  evaluation_interval: 5s
rule_files: [{json.dumps(str(rules / "*.yml"))}]
scrape_configs:
  - job_name: penstock
    static_configs: [{{targets: ["127.0.0.1:{self.admin}"]}}]
"""
        return [
            server,
            f"--config.file={self._write('prometheus.yml', config)}",
            f"--storage.tsdb.path={self._folder / 'prometheus-data'}",
            f"--web.listen-address=127.0.0.1:{self._prometheus}",
        ]


def free_ports(count: int) -> list[int]:
    """Ports of loopback that are free now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _quoted(path: Path) -> str:
    return json.dumps(str(path))
