"""The Python client, generated from OpenAPI as a package that pip installs."""

import copy
import json
import shlex
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from api.app import described_app
from api.routing import JSON
from api.version import VERSION
from domain.errors import BpmError

PACKAGE: Final = "bpm_client"
WRITTEN_BY_HAND: Final = ("alerts.py", "latest.py", "sending.py", "sockets.py")
"""What is copied beside the generated modules."""

_RUFF: Final = f"{shlex.quote(sys.executable)} -P -m ruff"
_BYTES: Final = "application/octet-stream"
_EVENTS: Final = "text/event-stream"

_PROJECT: Final = f"""\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "bpm-os-client"
version = "{VERSION}"
description = "Client of the BPM-OS engine, generated from its OpenAPI"
requires-python = ">=3.11"
license = "Apache-2.0"
dependencies = ["attrs>=22.2", "httpx>=0.28"]

[project.optional-dependencies]
arrow = ["pyarrow>=20"]
live = ["websockets>=15"]

[tool.hatch.build.targets.wheel]
packages = ["{PACKAGE}"]
"""


class ClientNotGeneratedError(BpmError):
    """The generator can't make a client of this OpenAPI."""

    code = "client_not_generated"


def generate(folder: Path) -> Path:
    """Write the client as a project into a folder, which is replaced, and give the folder.

    Raises ClientNotGeneratedError when the generator leaves out so much as one operation.
    """
    import openapi_python_client as generator  # a tool of developers, which an installation need not have
    from openapi_python_client.config import Config, ConfigFile, MetaType

    with tempfile.TemporaryDirectory() as scratch:
        source, made = Path(scratch) / "openapi.json", Path(scratch) / PACKAGE
        source.write_text(json.dumps(document()), encoding="utf-8")
        choices = ConfigFile(
            package_name_override=PACKAGE,
            content_type_overrides=dict.fromkeys(_kinds_of_bytes(), _BYTES),
            docstrings_on_attributes=True,
            literal_enums=True,
            post_hooks=[
                f"{_RUFF} check --fix-only --isolated --select F,I .",
                f"{_RUFF} format --isolated .",
            ],
        )
        config = Config.from_sources(
            choices, MetaType.NONE, source, "utf-8", overwrite=True, output_path=made
        )
        problems = generator.generate(config=config)
        if problems:
            told = "; ".join(f"{problem.header} {problem.detail}" for problem in problems)
            raise ClientNotGeneratedError(told)
        for name in WRITTEN_BY_HAND:
            shutil.copy(Path(__file__).with_name(name), made)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        shutil.move(made, folder / PACKAGE)
    (folder / "pyproject.toml").write_text(_PROJECT, encoding="utf-8")
    return folder


def document() -> dict[str, Any]:
    """OpenAPI as the generator is given it: a body or an answer in several formats is JSON, any other is bytes.

    The other formats are asked for over the client's httpx client, and streams that never end over `alerts`.
    """
    whole = copy.deepcopy(described_app().openapi())
    for methods in whole["paths"].values():
        for method, operation in list(methods.items()):
            if _EVENTS in operation["responses"].get("200", {}).get("content", {}):
                del methods[method]
                continue
            for body in (operation.get("requestBody", {}), *operation["responses"].values()):
                if "content" in body:
                    body["content"] = _one_format(body["content"])
    whole["paths"] = {path: methods for path, methods in whole["paths"].items() if methods}
    return whole


def _one_format(content: dict[str, Any]) -> dict[str, Any]:
    if JSON in content:
        return {JSON: content[JSON]}
    kind = next(iter(content))
    return {kind: {"schema": {"type": "string", "format": "binary"}}}


def _kinds_of_bytes() -> set[str]:
    """The media types of a document that are neither JSON nor a problem."""
    bodies = [
        body
        for methods in document()["paths"].values()
        for operation in methods.values()
        for body in (operation.get("requestBody", {}), *operation["responses"].values())
    ]
    return {kind for body in bodies for kind in body.get("content", {}) if not kind.endswith("json")}
