"""The engine as it is seen from outside: by /readyz and /metrics, without a token."""

from dataclasses import dataclass
from typing import Any, Final

import httpx
from prometheus_client.parser import text_string_to_metric_families

_ANSWER_S_MAX: Final = 3.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What a running engine says of itself.

    readiness: the body of /readyz. figures: the samples of /metrics, summed over those labels that aren't named.
    """

    readiness: dict[str, Any]
    figures: dict[str, float]

    @property
    def is_ready(self) -> bool:
        return bool(self.readiness.get("status") == "ready")


def look(client: httpx.Client) -> Seen | None:
    """What the engine at the client's address says, or None when nobody answers there as an engine does."""
    try:
        ready = client.get("/readyz", timeout=_ANSWER_S_MAX)
        readiness = ready.json()
        text = client.get("/metrics", timeout=_ANSWER_S_MAX).text
        if not isinstance(readiness, dict) or "status" not in readiness:
            return None
        return Seen(readiness, _figures(text))
    except (httpx.HTTPError, ValueError):
        return None


def _figures(text: str) -> dict[str, float]:
    """Gauges by name, and the readings answered by their outcome."""
    figures: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "bpm_readings_total":
                figures[sample.labels["outcome"]] = sample.value
            elif not sample.labels:
                figures[sample.name] = sample.value
    return figures
