"""The command line as people and scripts use it, against a whole engine in a process of its own."""

import json
import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from typer.testing import CliRunner, Result

from api.cli.main import app
from domain.errors import ConflictError, NotFoundError
from storage.embedded_postgres import connections_of_running
from tests.api.cli.conftest import BPM, Installation
from tests.running import free_port, until


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
    assert line_with(installation, "tenant list", "customer").split()[:3] == ["customer", "active", "0"]
    assert line_with(installation, "tenant quota customer --packs 5", "packs").split() == ["5", "packs"]
    assert line_with(installation, "tenant usage customer", "received_bytes").startswith("day")


def test_classes_of_retention_are_made_changed_and_deleted(installation: Installation) -> None:
    def told(*arguments: str) -> dict[str, Any]:
        done = in_process(installation, *arguments, "--json")
        assert done.exit_code == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    assert told("retention-class", "create", "law", "--days", "3650")["keep_days"] == 3650
    assert told("tenant", "create", "bound", "--retention-class", "law")["created"]
    assert told("tenant", "create", "free")["created"]
    assert told("tenant", "retention-class", "free", "law")["changed"]
    assert not told("tenant", "retention-class", "free", "law")["changed"]
    assert told("retention-class", "set", "law", "--for-good")["keep_days"] is None
    listed = {one["name"]: one for one in told("retention-class", "list")["retention_classes"]}
    assert (listed["law"]["keep_days"], listed["law"]["tenants"]) == (None, 2)
    assert line_with(installation, "retention-class list", "law").split()[:4] == ["law", "for", "good", "2"]
    assert {one["name"]: one["retention_class"] for one in told("tenant", "list")["tenants"]}[
        "bound"
    ] == "law"
    refused = in_process(installation, "retention-class", "delete", "law")
    assert isinstance(refused.exception, ConflictError)
    for name in ("bound", "free"):
        assert told("tenant", "retention-class", name, "standard")["changed"]
    assert told("retention-class", "delete", "law")["deleted"]


def line_with(installation: Installation, command: str, word: str) -> str:
    """The line of a command's table on standard output that has a word, as a pipe gets it."""
    shown = CliRunner().invoke(app, command.split(), env=installation.environment | {"COLUMNS": "40"})
    assert shown.exit_code == 0, shown.stderr
    return next(line for line in shown.stdout.splitlines() if word in line)


def test_tenant_that_another_process_holds_is_left_and_the_database_is_not_called_away(
    installation: Installation,
) -> None:
    installation.bpm("tenant", "create", "held")
    running = connections_of_running(Path(installation.environment["BPM_DATA_DIR"]))
    assert running is not None
    with psycopg.connect(running.admin) as holder:
        holder.execute("LOCK TABLE bpm.tenants")
        done = installation.bpm("tenant", "suspend", "held", "--reason", "unpaid")
    assert done.returncode == 1
    assert "The database is busy" in done.stderr
    again = installation.bpm("tenant", "suspend", "held", "--reason", "unpaid")
    assert again.returncode == 0, again.stderr


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
        (["retention-class", "create", "Not A Name", "--days", "40"], {}, 2, "lower-case"),
        (["retention-class", "create", "few"], {}, 2, "--for-good"),
        (["retention-class", "create", "few", "--days", "40", "--for-good"], {}, 2, "--for-good"),
        (["retention-class", "create", "few", "--days", "6"], {}, 2, "7"),
        (["retention-class", "create", "few", "--days", "29"], {}, 2, "BPM_LATE_S_MAX"),
        (["retention-class", "set", "standard", "--days", "40"], {}, 3, "BPM_READINGS_KEEP_DAYS"),
        (
            ["tenant", "create", "some", "--retention-class", "none"],
            {},
            3,
            "there is no retention class none",
        ),
        (["serve"], {}, 3, "BPM_DATABASE_URL"),
        (["up"], {"BPM_PORT": "no"}, 2, "BPM_PORT"),
        (["worker"], {"BPM_KAFKA": "127.0.0.1:1", "BPM_DATA_DIR": "none"}, 3, "BPM_DATABASE_URL"),
        (["worker"], {"BPM_KAFKA": "127.0.0.1:99999"}, 2, "127.0.0.1:99999"),
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
    assert "retry_after_s" not in done.stderr


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


def test_user_is_invited_suspended_and_deleted_and_signs_in_meanwhile(installation: Installation) -> None:
    in_process(installation, "tenant", "create", "staff")
    of_staff = ("ann@example.com", "--tenant", "staff")
    invited = in_process(installation, "user", "invite", *of_staff, "--role", "analyst")
    assert (invited.exit_code, invited.stdout.count("\n")) == (0, 1), invited.stderr
    chosen = {"invitation": invited.stdout.strip(), "password": "four words are better"}
    with httpx.Client(base_url=installation.url, trust_env=False, timeout=60) as client:

        def sign_in() -> int:
            asked = {"tenant": "staff", "login": "ann@example.com", "password": "four words are better"}
            return client.post("/v1/auth/token", json=asked).status_code

        token = client.post("/v1/auth/invitation", json=chosen).raise_for_status().json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        assert client.get("/v1/packs", headers=headers).status_code == 200
        assert sign_in() == 200
        for command, state, status in (
            ("suspend", "suspended", 401),
            ("resume", "active", 200),
            ("delete", "deleted", 401),
        ):
            done = in_process(installation, "user", command, *of_staff, "--json")
            assert (done.exit_code, json.loads(done.stdout)["state"]) == (0, state), done.stderr
            assert sign_in() == status
        until(lambda: client.get("/v1/packs", headers=headers).status_code == 401)
    listed = json.loads(in_process(installation, "user", "list", "--tenant", "staff", "--json").stdout)[
        "users"
    ]
    assert [(one["login"], one["state"]) for one in listed] == [("ann@example.com", "deleted")]
    line = line_with(installation, "user list --tenant staff", "ann@example.com")
    assert line.split() == ["ann@example.com", "deleted", "analyst", "all"]


def test_operator_is_invited_suspended_and_deleted_and_each_change_is_logged(
    installation: Installation,
) -> None:
    invited = in_process(installation, "operator", "invite", "Ann@example.com")
    assert (invited.exit_code, invited.stdout.count("\n")) == (0, 1), invited.stderr
    again = in_process(installation, "operator", "invite", "ann@example.com", "--again", "--json")
    chosen = {"invitation": json.loads(again.stdout)["invitation"], "password": "four words are better"}
    with httpx.Client(base_url=installation.url, trust_env=False, timeout=60) as client:
        lost = client.post("/v1/auth/invitation", json=chosen | {"invitation": invited.stdout.strip()})
        assert lost.status_code == 401
        token = client.post("/v1/auth/invitation", json=chosen).raise_for_status().json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        assert client.get("/v1/platform/tenants", headers=headers).status_code == 200
        subject = client.get("/v1/platform/grants", headers=headers).json()["subject"]
        assert line_with(installation, "operator list", "ann@example.com").split()[1:] == ["active", subject]
        for command, state in (("suspend", "suspended"), ("resume", "active"), ("delete", "deleted")):
            done = in_process(installation, "operator", command, "ann@example.com", "--json")
            told = json.loads(done.stdout)
            assert (done.exit_code, told["state"], told["subject"]) == (0, state, subject), done.stderr
        until(lambda: client.get("/v1/platform/tenants", headers=headers).status_code == 401)
    assert json.loads(in_process(installation, "operator", "list", "--json").stdout) == {"operators": []}
    log = json.loads(in_process(installation, "operator", "log", "--last", "6", "--json").stdout)["entries"]
    changes = ("deleted", "resumed", "suspended", "accepted", "invited_again", "invited")
    assert [one["action"] for one in log] == [f"operators.{change}" for change in changes]
    assert line_with(installation, "operator log --last 6", "operators.accepted")
    assert {one["resource_id"] for one in log} == {subject.partition(":")[2]}
    assert {one["subject"] for one in log} == {"installation", subject}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["operator", "invite", "two words"], 1, "without spaces"),
        (["operator", "suspend", "nobody"], 1, "no such operator"),
        (["operator", "invite", "nobody", "--again"], 1, "no such operator"),
        (["token", "--tenant", "nobody", "--role", "analyst"], 1, "there is no tenant nobody"),
        (["token", "--platform", "--tenant", "demo"], 2, "--platform"),
        (["token", "--tenant", "demo"], 2, "--tenant"),
    ],
)
def test_wrong_operator_commands_say_why(
    installation: Installation, arguments: list[str], code: int, said: str
) -> None:
    done = in_process(installation, *arguments)
    assert (done.exit_code, done.stdout) == (code, "")
    assert said in str(done.exception) + done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["invite", "ann", "--tenant", "nobody", "--role", "analyst"], 1, "there is no tenant nobody"),
        (["invite", "ann", "--tenant", "staff"], 2, "--role"),
        (["invite", "two words", "--tenant", "staff", "--role", "analyst"], 1, "without spaces"),
        (["suspend", "nobody", "--tenant", "staff"], 1, "no such user"),
    ],
)
def test_wrong_user_commands_say_why(
    installation: Installation, arguments: list[str], code: int, said: str
) -> None:
    in_process(installation, "tenant", "create", "staff")
    done = in_process(installation, "user", *arguments)
    told = str(done.exception) + done.stderr
    assert (done.exit_code, done.stdout) == (code, "")
    assert said in told


def test_refusals_of_strangers_are_shown(installation: Installation) -> None:
    headers = {"Authorization": "Bearer planted"}
    answers = [httpx.get(f"{installation.url}/v1/models", headers=headers, trust_env=False) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [401] * 3
    asked = (
        "security-events",
        "--kind",
        "bad_credential",
        "--since",
        "2026-01-01T00:00:00Z",
        "--last",
        "100",
    )

    def shown() -> list[dict[str, object]]:
        told = in_process(installation, *asked, "--json")
        assert told.exit_code == 0, told.stderr
        return [one for one in json.loads(told.stdout)["events"] if one["route"] == "/v1/models"]

    until(lambda: sum(int(str(one["times"])) for one in shown()) == 3)
    assert {one["address_prefix"] for one in shown()} == {"127.0.0.0/24"}
    assert "/v1/models" in in_process(installation, *asked).stdout
    assert in_process(installation, "security-events", "--since", "yesterday").exit_code == 2
