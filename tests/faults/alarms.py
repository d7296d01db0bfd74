"""Whether each alert that the readings call for was raised once (rules E9, E17 and E18)."""

from collections import Counter
from http import HTTPStatus
from typing import Any

import psycopg

from domain.clock import to_ms
from tests.faults.engine_process import EngineProcess, EngineStuckError
from tests.faults.load import ALARM_MEASURE
from tests.faults.saying import said

LIMIT_THOUSANDTHS = 3_000

RULE = {
    "name": "fault runs",
    "scope": {"kind": "tenant"},
    "severity": "info",
    "condition": {
        "kind": "threshold",
        "measure": ALARM_MEASURE,
        "side": "above",
        "limit": LIMIT_THOUSANDTHS / 1000,
        "clear_limit": LIMIT_THOUSANDTHS / 1000,
    },
    # The load is too slow to ever reach this.
    "flapping": {"raises_max": 16, "window_s": 1},
}

_ALERTS = """
    SELECT external_id, onset, state, cleared_at, late, provisional, seq
    FROM alerts JOIN packs USING (tenant_id, pack_id)
"""
_TRANSITIONS = """
    SELECT seq, kind, external_id, onset FROM rule_transitions JOIN packs USING (tenant_id, pack_id) ORDER BY seq
"""

Alarm = tuple[int, int, bool]
"""Time, value in thousandths, and whether the reading was acknowledged."""

Alert = tuple[int, str, int | None, bool]
"""Onset, state, time of clearing, and whether it was late."""


def add_rule(engine: EngineProcess, token: str) -> None:
    """Let the load's alarm packs have their rule, from now on. Raises EngineStuckError."""
    status, answer = engine.request("POST", "/v1/rules", RULE, token)
    if status != HTTPStatus.CREATED:
        raise EngineStuckError(f"the rule was answered with {status}: {answer}")


def expected_alerts(alarms: list[Alarm]) -> list[Alert]:
    """The alerts that readings in this order of arrival call for, by the definition of a threshold."""
    found: list[Alert] = []
    seen: set[int] = set()
    clock_ms, open_ms = -1, None
    for ts_ms, value, _ in alarms:
        if ts_ms in seen:
            continue
        seen.add(ts_ms)
        breaches = value > LIMIT_THOUSANDTHS
        if ts_ms < clock_ms:
            if breaches:
                found.append((ts_ms, "cleared", ts_ms, True))
            continue
        clock_ms = ts_ms
        if breaches and open_ms is None:
            open_ms = ts_ms
        elif not breaches and open_ms is not None:
            found.append((open_ms, "cleared", ts_ms, False))
            open_ms = None
    return sorted(found if open_ms is None else [*found, (open_ms, "open", None, False)])


def alert_contradictions(conninfo: str, alarms: dict[str, list[Alarm]] | None = None) -> list[str]:
    """Whatever is wrong with transitions and alerts, in one snapshot; also against what was sent, once all of it is known."""
    options = "-c timezone=UTC -c search_path=bpm -c default_transaction_isolation=repeatable\\ read"
    with psycopg.connect(conninfo, options=options) as connection:
        last = connection.execute("SELECT alert_seq FROM partitions").fetchone()
        transitions = connection.execute(_TRANSITIONS).fetchall()
        alerts = connection.execute(_ALERTS).fetchall()
    assert last is not None
    found = [
        said(
            "gaps or repetitions in the alert sequence",
            _not_gapless([row[0] for row in transitions], last[0]),
        ),
        said("alerts raised more or less than once", _not_once(transitions, alerts)),
    ]
    if alarms is not None:
        found.append(said("packs whose alerts differ from what was sent", _unexpected(alarms, alerts)))
    return [one for one in found if one is not None]


def _not_gapless(found: list[int], last: int) -> list[str]:
    return (
        []
        if found == list(range(1, last + 1))
        else [f"{len(found)} up to {last}: {found[:3]} to {found[-3:]}"]
    )


def _not_once(transitions: list[tuple[Any, ...]], alerts: list[tuple[Any, ...]]) -> list[str]:
    """Alerts without exactly one beginning, with more than one end, or not at their last transition."""
    begun = Counter((pack, onset) for _, kind, pack, onset in transitions if kind in ("raised", "late"))
    ended = Counter((pack, onset) for _, kind, pack, onset in transitions if kind == "cleared")
    last = {(pack, onset): seq for seq, _, pack, onset in transitions}
    identities = {(pack, onset): seq for pack, onset, *_, seq in alerts}
    wrong = [
        f"{pack} at {onset}: begun {begun[pack, onset]} times, ended {ended[pack, onset]} times"
        for pack, onset in sorted(begun.keys() | identities.keys())
        if begun[pack, onset] != 1
        or ended[pack, onset] > 1
        or identities.get((pack, onset)) != last[pack, onset]
    ]
    return [*wrong, *(["there are more alerts than identities"] if len(identities) != len(alerts) else [])]


def _unexpected(alarms: dict[str, list[Alarm]], alerts: list[tuple[Any, ...]]) -> list[str]:
    found: dict[str, list[Alert]] = {}
    for pack, onset, state, cleared_at, late, *_ in alerts:
        cleared_ms = None if cleared_at is None else to_ms(cleared_at)
        found.setdefault(pack, []).append((to_ms(onset), state, cleared_ms, late))
    wrong = []
    for pack in sorted(alarms.keys() | found.keys()):
        stored = sorted(found.get(pack, []))
        sent = alarms.get(pack, [])
        # A last batch without an answer may have been committed or not.
        allowed = [expected_alerts(sent), expected_alerts([one for one in sent if one[2]])]
        if stored not in allowed:
            differing = sorted(set(stored) ^ set(allowed[0]), key=str)
            wrong.append(f"{pack}: {len(stored)} stored, {len(allowed[0])} expected, such as {differing[:3]}")
    return wrong
