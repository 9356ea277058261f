"""Reads and validates `settings.toml`. Unknown keys are errors, as in the gateway's own configuration."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

HOURS_PER_MONTH = 730.0


@dataclass(frozen=True)
class LatencyObjective:
    """So much of a model's requests are answered within so many seconds."""

    seconds: float
    objective: float


@dataclass(frozen=True)
class Settings:
    """All of `settings.toml`."""

    documentation_url: str
    usd_per_month: float
    availability: float
    latency: LatencyObjective
    latency_by_model: dict[str, LatencyObjective]

    @property
    def usd_per_hour(self) -> float:
        """The budget, spread evenly."""
        return self.usd_per_month / HOURS_PER_MONTH

    def runbook(self, section: str) -> str:
        """Address of a section of the run-book."""
        return f"{self.documentation_url}/runbook.md#{section.lower()}"


class SettingsError(ValueError):
    """`settings.toml` cannot be used; says why."""


def read(path: Path, bucket_bounds: list[float]) -> Settings:
    """Parses the file. `bucket_bounds`: those of the latency histogram, seconds."""
    raw = tomllib.loads(path.read_text(encoding="utf-8"))
    _keys(raw, "", {"documentation_url", "budget", "availability", "latency"})
    latency = dict(raw["latency"])
    models = latency.pop("models", {})
    _keys(raw["budget"], "budget", {"usd_per_month"})
    _keys(raw["availability"], "availability", {"objective"})
    if not raw["budget"]["usd_per_month"] > 0:
        raise SettingsError("`budget.usd_per_month` must be above 0")
    return Settings(
        documentation_url=raw["documentation_url"].rstrip("/"),
        usd_per_month=float(raw["budget"]["usd_per_month"]),
        availability=_objective(raw["availability"]["objective"], "availability"),
        latency=_latency(latency, "latency", bucket_bounds),
        latency_by_model={
            name: _latency(each, f"latency.models.{name}", bucket_bounds) for name, each in sorted(models.items())
        },
    )


def _latency(raw: dict, place: str, bucket_bounds: list[float]) -> LatencyObjective:
    _keys(raw, place, {"seconds", "objective"})
    if raw["seconds"] not in bucket_bounds:
        raise SettingsError(f"`{place}.seconds` must be one of {bucket_bounds}: only they can be counted")
    return LatencyObjective(float(raw["seconds"]), _objective(raw["objective"], place))


def _objective(value: float, place: str) -> float:
    # The fastest window alerts at a burn of 14.4: below this objective that would be above a share of 1, and could never fire.
    if not 1 - 1 / 14.4 < value < 1:
        raise SettingsError(f"`{place}.objective` must be above 0.931 and below 1")
    return float(value)


def _keys(raw: dict, place: str, wanted: set[str]) -> None:
    if raw.keys() != wanted:
        raise SettingsError(f"`[{place}]` must have exactly the keys {sorted(wanted)}, it has {sorted(raw)}")
