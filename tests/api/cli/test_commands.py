"""The command line as people and scripts use it, against a whole engine in a process of its own."""

import json
import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner, Result

from api.cli.main import app
from domain.errors import NotFoundError
from tests.api.cli.conftest import BPM, Installation
from tests.running import free_port


def in_process(installation: Installation, *arguments: str) -> Result:
    """What a command does, without the start of a process."""
    return CliRunner().invoke(app, arguments, env=installation.environment)


def test_first_reading_as_the_tutorial_sends_it(installation: Installation) -> None:
    made = installation.bpm("tenant", "create", "demo", "--register-unknown-packs")
    again = installation.bpm("tenant", "create", "demo")
    assert (made.returncode, again.returncode) == (0, 0)
    token = installation.bpm("token", "--tenant", "demo", "--role", "tenant_admin")
    assert token.stdout.count("\n") == 1
    assert token.stdout.count(".") == 2
    now = datetime.now(UTC)
    with httpx.Client(
        base_url=installation.url,
        headers={"Authorization": f"Bearer {token.stdout.strip()}"},
        trust_env=False,
    ) as client:
        sent = {"pack": "P-1", "ts": now.isoformat(), "voltage_v": 357.2}
        assert client.post("/v1/telemetry", json=sent).json()["accepted"] == 1
        asked = {
            "pack": "P-1",
            "measure": "voltage_v",
            "from": (now - timedelta(minutes=1)).isoformat(),
            "to": (now + timedelta(minutes=1)).isoformat(),
        }
        assert client.get("/v1/trends", params=asked).json()["columns"]["voltage_v"] == [357.2]


def test_tenant_is_suspended_deleted_and_taken_back(installation: Installation) -> None:
    installation.bpm("tenant", "create", "customer")
    steps = [
        (["suspend", "customer", "--reason", "unpaid"], "suspended", True),
        (["suspend", "customer", "--reason", "unpaid"], "suspended", False),
        (["delete", "customer", "--grace", "7"], "deleting", True),
        (["undelete", "customer"], "suspended", True),
        (["resume", "customer"], "active", True),
    ]
    for arguments, state, changed in steps:
        done = in_process(installation, "tenant", *arguments, "--json")
        assert done.exit_code == 0, done.stderr
        told = json.loads(done.stdout)
        assert (told["tenant"], told["state"], told["changed"]) == ("customer", state, changed)
        listed = json.loads(in_process(installation, "tenant", "list", "--json").stdout)["tenants"]
        assert [one["state"] for one in listed if one["name"] == "customer"] == [state]
    assert isinstance(in_process(installation, "tenant", "resume", "nobody").exception, NotFoundError)


def test_second_engine_on_the_same_folder_is_refused(installation: Installation) -> None:
    second = installation.bpm("up", BPM_ENV="development", BPM_PORT=str(free_port()))
    assert second.returncode == 3
    assert str(installation.process.pid) in second.stderr


def test_engine_whose_port_is_taken_is_refused_before_it_makes_a_database(
    installation: Installation, tmp_path: Path
) -> None:
    environment = {"BPM_ENV": "development", "BPM_DATA_DIR": str(tmp_path / "other")}
    second = installation.bpm("up", **environment)
    assert second.returncode == 3
    assert "is taken; find by whom" in second.stderr
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "said"),
    [
        (["tenant", "create", "Not A Name"], {}, 2, "lower-case"),
        (["token", "--tenant", "demo", "--role", "king"], {}, 2, "king"),
        (["token", "--tenant", "demo", "--role", "device"], {"BPM_ENV": "production"}, 3, "production"),
        (["tenant", "move", "demo"], {}, 2, "--cancel"),
        (["tenant", "move", "demo", "--to", "north"], {}, 3, "in which file the cells are"),
        (["serve"], {}, 3, "BPM_DATABASE_URL"),
        (["up"], {"BPM_PORT": "no"}, 2, "BPM_PORT"),
        (["nonsense"], {}, 2, "nonsense"),
        (["migrate"], {"BPM_DATABASE_URL": "postgresql://u:p%zz@127.0.0.1/x"}, 2, "percent-encoded"),
        (["migrate"], {"BPM_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/x"}, 1, "can't be reached"),
    ],
)
def test_refusals_say_why_and_have_their_exit_code(
    installation: Installation, arguments: list[str], environment: dict[str, str], code: int, said: str
) -> None:
    done = installation.bpm(*arguments, **environment)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr


def test_production_with_an_issuer_but_without_its_keys_is_refused(reachable_folder: Path) -> None:
    environment = os.environ | {
        "BPM_DATA_DIR": str(reachable_folder / "production"),
        "BPM_PORT": str(free_port()),
        "BPM_POSTGRES_SHARED_BUFFERS_MB": "64",
        "BPM_TOKEN_ISSUER": "https://issuer.example",
    }
    done = subprocess.run([*BPM, "up"], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3
    assert "BPM_TOKEN_JWKS_FILE" in done.stderr


def test_documentation_needs_no_internet(installation: Installation) -> None:
    with httpx.Client(base_url=installation.url, trust_env=False) as client:
        page = client.get("/docs").text
        assert "http://" not in page
        assert "https://" not in page
        for path in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"):
            assert f"/docs/assets/{path}" in page
            assert client.get(f"/docs/assets/{path}").status_code == 200
        assert "/v1/telemetry" in json.loads(client.get("/openapi.json").text)["paths"]
