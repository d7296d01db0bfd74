"""Logs are lines of JSON, and neither they nor answers hold a secret."""

import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest
import structlog

from api import logs
from domain.tenancy import Role
from tests.running import RunningApi, free_port

PLANTED = "planted-secret-5e1f"


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    logs.configure(stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_every_logger_writes_lines_of_json(written: io.StringIO) -> None:
    logging.getLogger("library").warning("%s left", 3)
    logs.logger("ours").error("went wrong", pack="P")
    try:
        int(f"password={PLANTED}")
    except ValueError:
        logging.getLogger("library").exception("failed")
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    assert [(line["level"], line["logger"], line["event"]) for line in lines] == [
        ("warning", "library", "3 left"),
        ("error", "ours", "went wrong"),
        ("error", "library", "failed"),
    ]
    assert lines[1]["pack"] == "P"
    assert "ValueError" in lines[2]["exception"]
    assert PLANTED not in written.getvalue()


@pytest.mark.parametrize(
    "said",
    [
        f"Authorization: Bearer {PLANTED}",
        f"postgresql://bpm:{PLANTED}@db.example/bpm",
        f"user=bpm password={PLANTED} host=db",
        f'{{"password": "{PLANTED}", "x": 1}}',
        f"ticket={PLANTED}&x=1",
        f"eyJhbGciOiJFZERTQSJ9.{PLANTED}.c2ln",
    ],
)
def test_what_looks_like_a_secret_is_left_out(written: io.StringIO, said: str) -> None:
    logging.getLogger("library").error("it said %s", said)
    assert PLANTED not in written.getvalue()
    assert logs.HIDDEN in written.getvalue()


def test_answers_and_logs_hold_no_credential_that_was_sent(api: RunningApi, written: io.StringIO) -> None:
    token = api.token(api.tenant("alpha"), Role.ANALYST)
    bad = f"eyJhbGciOiJFZERTQSJ9.{PLANTED}.c2ln"
    answers = []
    for authorization in (f"Bearer {token}", f"Bearer {bad}", f"Basic {PLANTED}", f"Bearer {token[:-3]}AAA"):
        headers = {"Authorization": authorization, "X-Api-Key": PLANTED}
        for method, path in (
            ("POST", "/v1/sites"),
            ("GET", f"/v1/packs/{PLANTED}"),
            ("POST", "/v1/telemetry"),
        ):
            sent = {
                "content": f'{{"password": "{PLANTED}"',
                "headers": headers | {"Content-Type": "application/json"},
            }
            answers.append(httpx.request(method, f"{api.url}{path}", trust_env=False, **sent))
    told = written.getvalue() + "".join(f"{answer.headers}{answer.text}" for answer in answers)
    assert {answer.status_code for answer in answers} >= {401, 403}
    for secret in (PLANTED, token, token.rpartition(".")[2]):
        assert secret not in told


def test_a_start_that_fails_says_nothing_of_the_databases_password() -> None:
    url = f"postgresql://bpm:{PLANTED}@127.0.0.1:{free_port()}/bpm?connect_timeout=1"
    environment = {"BPM_ENV": "development", "BPM_DATABASE_URL": url, "BPM_PORT": str(free_port())}
    ended = subprocess.run(
        [sys.executable, "-m", "api.cli", "serve"],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode != 0
    assert ended.stderr
    assert PLANTED not in ended.stdout + ended.stderr
