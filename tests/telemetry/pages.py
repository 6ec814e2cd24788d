"""Reading a page as Prometheus does."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

from ringwall.telemetry.metrics import Metrics, Now


def samples(page: bytes) -> dict[str, float]:
    """Each sample by its name and labels, ``name{a=b,c=d}``; a name twice fails."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(page.decode()):
        for sample in family.samples:
            key = spelled(sample.name, sample.labels)
            assert key not in found, key
            found[key] = sample.value
    return found


def spelled(name: str, labels: Mapping[str, str]) -> str:
    inner = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
    return f"{name}{{{inner}}}" if inner else name


def page(metrics: Metrics, now: Now | None = None) -> dict[str, float]:
    return samples(b"".join(metrics.pages(now or Now())))


def nonzero(found: Mapping[str, float], *names: str) -> dict[str, float]:
    """What was counted under these names."""
    return {key: value for key, value in found.items() if value and key.partition("{")[0] in names}
