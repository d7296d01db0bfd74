"""Dashboards and alert rules ask for metrics and labels that the engine and its workers have."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest

from api.worker_reports import WorkerMetrics
from tests.deploy.composed import DEPLOY
from tests.running import RunningApi

DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
ALERTS = DEPLOY / "prometheus" / "alerts.yaml"

METRIC = re.compile(r"\b(?:bpm_\w+|up)\b")
LABELS = re.compile(r"\bby \(([^)]*)\)|\{([^}]*)\}")
OF_PROMETHEUS = frozenset({"job", "instance", "le"})
SAMPLES_OF = {"counter": ("",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


def panels(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["panels"]
    return found


def expressions() -> dict[str, str]:
    """Everything that Prometheus is asked, by where it stands."""
    found = {
        f"{path.stem}: {panel['title']}": target["expr"]
        for path in DASHBOARDS
        for panel in panels(path)
        for target in panel["targets"]
    }
    for group in yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]:
        found |= {f"alert: {rule['alert']}": rule["expr"] for rule in group["rules"]}
    return found


def names_in(expression: str) -> set[str]:
    return set(METRIC.findall(expression))


def labels_in(expression: str) -> set[str]:
    """Labels by which is grouped or chosen."""
    found = set()
    for grouped, chosen in LABELS.findall(expression):
        parts = grouped.split(",") if grouped else re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", chosen)
        found |= {part.strip() for part in parts}
    return found


def shown(text: str) -> set[str]:
    """Names of the samples that a text of metrics promises, those without a sample yet too."""
    kinds = re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE)
    return {name + suffix for name, kind in kinds for suffix in SAMPLES_OF[kind]}


def labels_of(registry: CollectorRegistry) -> dict[str, set[str]]:
    """The labels of each name of a registry."""
    return {
        name: set(collector._labelnames)  # type: ignore[attr-defined]
        for collector, names in registry._collector_to_names.items()
        for name in names
    }


@pytest.fixture(scope="module")
def metrics(api: RunningApi) -> dict[str, set[str]]:
    """The labels of each metric that an API process or a worker really shows."""
    with httpx.Client(base_url=api.url, trust_env=False) as client:
        text = client.get("/metrics").text
    workers = WorkerMetrics("bpm.readings.v1", "bpm-workers", list).registry
    labels = labels_of(api.engine.metrics._registry) | labels_of(workers)
    names = shown(text) | shown(generate_latest(workers).decode())
    return {name: labels[name] for name in names} | {"up": set()}


@pytest.mark.parametrize("where", sorted(expressions()))
def test_what_is_asked_of_prometheus_exists(where: str, metrics: dict[str, set[str]]) -> None:
    expression = expressions()[where]
    names = names_in(expression)
    assert names
    assert names - metrics.keys() == set()
    known: Iterable[set[str]] = (metrics[name] for name in names)
    assert labels_in(expression) - set().union(*known) - OF_PROMETHEUS == set()


def test_labels_are_read_out_of_expressions() -> None:
    assert labels_in('sum by (le, route) (rate(x{status=~"5..", kind!="a"}[5m]))') == {
        "le",
        "route",
        "status",
        "kind",
    }


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_panels_have_places_of_their_own_and_the_provisioned_source(path: Path) -> None:
    sources = yaml.safe_load(
        (DEPLOY / "grafana/provisioning/datasources/prometheus.yaml").read_text(encoding="utf-8")
    )
    uids = {source["uid"] for source in sources["datasources"]}
    taken: set[tuple[int, int]] = set()
    for panel in panels(path):
        assert panel["datasource"]["uid"] in uids
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    numbers = [panel["id"] for panel in panels(path)]
    assert len(set(numbers)) == len(numbers) > 5


def test_dashboards_are_provisioned_from_where_compose_puts_them() -> None:
    provided = yaml.safe_load(
        (DEPLOY / "grafana/provisioning/dashboards/bpm.yaml").read_text(encoding="utf-8")
    )
    (provider,) = provided["providers"]
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    assert (
        f"./grafana/dashboards:{provider['options']['path']}:ro" in compose["services"]["grafana"]["volumes"]
    )
    assert len({json.loads(path.read_text())["uid"] for path in DASHBOARDS}) == len(DASHBOARDS) == 2
