"""The engine is killed between a webhook and its mark: it is sent again under its id, and is one delivery."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from storage.database import INGEST_ROLE, conninfo_as
from storage.tenants import create as create_tenant
from tests.api.delivering.receiver import receiving
from tests.faults.engine_process import EngineProcess, until

SETTINGS = {
    "BPM_WEBHOOK_HTTP_ALLOWED": "true",
    "BPM_WEBHOOK_NETWORKS_ALLOWED": "127.0.0.0/8",
    # The claim of the process that was killed ends soon.
    "BPM_WEBHOOK_S_MAX": "1",
    "BPM_SMTP_S_MAX": "0.01",
}
HOT = {"kind": "threshold", "measure": "temperature_c", "side": "above", "limit": 50, "clear_limit": 45}
ALERTS = 5


def test_webhook_that_was_sent_but_not_marked_is_sent_again_under_its_id() -> None:
    with tempfile.TemporaryDirectory(prefix="bpm-tests-") as name, receiving() as receiver:
        folder = Path(name)
        folder.chmod(0o755)
        engine = EngineProcess(folder)
        try:
            engine.start("sent_before_mark:3", SETTINGS)
            engine.wait_ready()
            create_tenant(
                conninfo_as(engine.connections().service, INGEST_ROLE, application="tests"),
                "hooks",
                register_unknown_packs=True,
            )
            token = engine.token("hooks")

            def ask(method: str, path: str, body: object = None) -> Any:
                status, answer = engine.request(method, path, body, token)
                assert status < 300, answer
                return answer

            channel = {"name": "hooks", "kind": "webhook", "url": receiver.url, "events": ["raised"]}
            ask("POST", "/v1/channels", channel)
            rule = {"name": "hot", "scope": {"kind": "tenant"}, "severity": "critical", "condition": HOT}
            ask("POST", "/v1/rules", rule)
            sent = [
                {"pack": f"P-{number}", "ts": datetime.now(UTC).isoformat(), "temperature_c": 60}
                for number in range(ALERTS)
            ]
            ask("POST", "/v1/telemetry", sent)
            engine.wait_killed()
            assert len(receiver.received) == 3
            engine.start(settings=SETTINGS)
            engine.wait_ready()
            until(lambda: len(receiver.received) == ALERTS + 1, "the others, and one of them again", 30)
            until(
                lambda: len(ask("GET", "/v1/deliveries?state=delivered")["items"]) == ALERTS,
                "all to be marked",
                30,
            )
            items = ask("GET", "/v1/deliveries")["items"]
            assert [one["attempts"] for one in items] == [1, 1, 2, 1, 1]
            ids = [one.id for one in receiver.received]
            assert len(set(ids)) == ALERTS
            packs = [one.said["data"]["alert"]["pack"] for one in receiver.received]
            assert packs == ["P-0", "P-1", "P-2", "P-2", "P-3", "P-4"]
            engine.stop()
        finally:
            engine.clear()
