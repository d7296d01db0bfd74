"""Refusals are counted over all processes, and the alert of them clears by itself."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.rows import dict_row

from api.database_access import DatabaseAccess
from api.disk import DiskGuard
from api.metrics import Metrics
from api.security_events.recorder import RecorderLimits, SecurityRecorder
from api.settings import Settings
from domain.alerts import ClearByHand
from domain.clock import AnchoredClock
from domain.errors import NotFoundError
from domain.security import SecurityKind, Thresholds
from domain.tenancy import Actor, TenantId
from storage.database import INGEST_ROLE
from storage.security_alerts import SecurityDesk, tenants_due
from storage.transactions import open_pool


class Stage:
    """Recorders of several processes and what they write for one tenant, at a time that is moved by hand."""

    def __init__(self, database: DatabaseAccess, disk: DiskGuard, usual: Thresholds) -> None:
        self.now_ms = 1_800_000_000_000
        self.usual = usual
        self._access = database
        self._conninfo = database.as_role(INGEST_ROLE, Settings())
        self._metrics = Metrics(lambda: 0, lambda: False, lambda: 0, disk)
        self._desk = SecurityDesk(self._conninfo, 1, usual)
        (tenant,) = self.rows("INSERT INTO tenants (name) VALUES ('shared') RETURNING tenant_id")
        self.rows("INSERT INTO partitions (partition_no, epoch) VALUES (0, 1)")
        self.actor = Actor("s", TenantId(tenant["tenant_id"]), "shared", frozenset())

    def rows(self, text: str) -> list[dict[str, Any]]:
        with psycopg.connect(
            self._access.admin, row_factory=dict_row, options="-c search_path=bpm"
        ) as connection:
            cursor = connection.execute(text.encode())
            return cursor.fetchall() if cursor.description else []

    def refuse(self, *times: int) -> list[TenantId]:
        """So many refusals in each process; the tenants of which there is then something to do."""
        return asyncio.run(self._refuse(times))

    async def _refuse(self, times: tuple[int, ...]) -> list[TenantId]:
        clock = AnchoredClock(lambda: self.now_ms, lambda: self.now_ms, 60_000)
        limits = RecorderLimits(10, 1, self.usual)
        called: list[int] = []

        async def too_many() -> None:
            called.append(len(called))

        async with open_pool(self._conninfo, connections_max=2, wait_s_max=10) as pool:
            recorders = [SecurityRecorder(pool, clock, self._metrics, limits, too_many) for _ in times]
            for recorder, count in zip(recorders, times, strict=True):
                for _ in range(count):
                    recorder.note(SecurityKind.DENIED, self.actor, "203.0.113.9", "/v1/packs")
                await recorder.write()
            due = await tenants_due(pool, self.usual, self.now_ms)
        assert called or not due, "what is due is raised at once"
        return due

    def settle(self) -> list[dict[str, Any]]:
        """The alerts, once those that are due were raised and cleared."""
        self._desk.settle(self.actor.tenant_id, self.now_ms)
        return self.rows("SELECT state, value, clear_reason, rule_version FROM alerts ORDER BY alert_no")

    def clear(self) -> None:
        """Clear the open alert by hand."""
        (row,) = self.rows("SELECT id, rule_no FROM alerts WHERE state = 'open'")
        tenant = self.actor.tenant_id
        asked = ClearByHand(uuid4(), tenant, row["id"], row["rule_no"], None, 0, "somebody", "request")
        self._desk.clear(asked, self.now_ms)
        with pytest.raises(NotFoundError):
            self._desk.clear(asked, self.now_ms)


def test_refusals_of_all_processes_count_together_and_the_alert_clears_when_it_is_quiet(
    database: DatabaseAccess, tmp_path: Path
) -> None:
    stage = Stage(database, DiskGuard(tmp_path, 0, 1), Thresholds({SecurityKind.DENIED: 10}, 120))
    assert stage.refuse(4, 5) == []
    # Of the minute before nothing counts.
    stage.now_ms += 60_000
    assert stage.refuse(4, 5) == []
    assert stage.refuse(1, 0, 30) == [stage.actor.tenant_id]
    passed = "SELECT times FROM security_events WHERE kind = 'threshold_exceeded'"
    assert stage.rows(passed) == [{"times": 10}]
    opened = {"state": "open", "value": 40.0, "clear_reason": None, "rule_version": 1}
    assert stage.settle() == [opened]
    assert stage.settle() == [opened]
    # The minute, and quiet for two more.
    stage.now_ms += 179_000
    assert stage.settle() == [opened]
    stage.now_ms += 1_000
    cleared = opened | {"state": "cleared", "clear_reason": "measured"}
    assert stage.settle() == [cleared]
    stage.refuse(20)
    assert stage.settle() == [cleared, opened | {"value": 20.0}]
    # One that somebody clears isn't raised again for the minute that it told of, but for the next.
    stage.clear()
    stage.refuse(20)
    by_hand = opened | {"value": 20.0, "state": "cleared", "clear_reason": "by_hand"}
    assert stage.settle() == [cleared, by_hand]
    stage.now_ms += 60_000
    stage.refuse(10)
    assert stage.settle() == [cleared, by_hand, opened | {"value": 10.0}]
    # A tenant that chooses another threshold is judged by it, also of what is open.
    stage.rows(
        "INSERT INTO security_thresholds (tenant_id, denied_per_minute_max) SELECT tenant_id, 50 FROM tenants"
    )
    assert [one["state"] for one in stage.settle()] == ["cleared"] * 3
    stage.now_ms += 60_000
    stage.refuse(49)
    assert len(stage.settle()) == 3
    stage.refuse(1)
    assert stage.settle()[3] == opened | {"value": 50.0, "rule_version": 2}
    # Of one that isn't served nothing is raised or cleared until it is again.
    stage.rows("UPDATE tenants SET suspended_at = now(), suspended_for = 'unpaid'")
    stage.now_ms += 3_600_000
    assert stage.settle()[3]["state"] == "open"
    stage.rows("UPDATE tenants SET suspended_at = NULL, suspended_for = NULL")
    assert stage.settle()[3]["state"] == "cleared"
    log = [row["kind"] for row in stage.rows("SELECT kind FROM alert_events ORDER BY seq")]
    assert log == 4 * ["raised", "cleared"], "what channels, streams and the topic tell"
