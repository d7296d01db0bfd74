"""deploy/compose.yaml as data, with its placeholders filled in."""

import re
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE = DEPLOY / "compose.yaml"
PLACEHOLDER = re.compile(r"\$\{(\w+)(?::(-|\?)([^}]*))?\}")

GIVEN = {
    "KAFKA_CLUSTER_ID": "0123456789ABCDEFGHIJKL",
    "GRAFANA_ADMIN_PASSWORD": "given",
}
"""What an operator sets in deploy/.env."""


def filled(content: Any, given: dict[str, str] = GIVEN) -> Any:
    """What was read, with its placeholders as Compose fills them. One that must be set and isn't raises KeyError."""

    def value(found: re.Match[str]) -> str:
        name, kind, default = found.groups()
        return given.get(name, default) if kind == "-" else given[name]

    if isinstance(content, dict):
        return {key: filled(one, given) for key, one in content.items()}
    if isinstance(content, list):
        return [filled(one, given) for one in content]
    return PLACEHOLDER.sub(value, content) if isinstance(content, str) else content


def raw() -> dict[str, Any]:
    """The file with its placeholders."""
    content: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    return content


def composed() -> dict[str, Any]:
    """The file with its placeholders filled in."""
    content: dict[str, Any] = filled(raw())
    return content


def services() -> dict[str, dict[str, Any]]:
    """The services by their names."""
    found: dict[str, dict[str, Any]] = composed()["services"]
    return found
