"""Whether what is stored agrees with what the writers logged (promises P1, P2 and P9)."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import psycopg

from domain.clock import to_ms
from domain.measures import MEASURE_NAMES
from tests.faults.journal import COUNTS, Evidence, Receipt
from tests.faults.load import Identity

_EXAMPLES = 5

_READINGS = f"""
    SELECT external_id, ts, {", ".join(MEASURE_NAMES)}
    FROM bpm.readings JOIN bpm.packs USING (pack_id)
"""
_BATCHES = f"SELECT id::text, {', '.join(COUNTS)} FROM bpm.batches"


@dataclass(slots=True)
class Stored:
    """What PostgreSQL holds: how often each identity with its value, receipts by key, and rows."""

    values: Counter[tuple[Identity, int]] = field(default_factory=Counter)
    receipts: dict[str, Receipt] = field(default_factory=dict)
    rows: int = 0

    def latest(self) -> dict[tuple[str, str], tuple[int, int]]:
        """By pack and measure: time and thousandths of the latest value."""
        found: dict[tuple[str, str], tuple[int, int]] = {}
        for (pack, ts_ms, measure), thousandths in self.values:
            found[pack, measure] = max(found.get((pack, measure), (ts_ms, thousandths)), (ts_ms, thousandths))
        return found


def read_stored(conninfo: str) -> Stored:
    """What the database holds, read by its administrator past every piece of the engine."""
    stored = Stored()
    with psycopg.connect(conninfo, options="-c timezone=UTC") as connection:
        for pack, ts, *values in connection.execute(_READINGS):
            stored.rows += 1
            for measure, value in zip(MEASURE_NAMES, values, strict=True):
                if value is not None:
                    stored.values[(pack, to_ms(ts), measure), round(value * 1000)] += 1
        for key, *counts in connection.execute(_BATCHES):
            stored.receipts[key] = dict(zip(COUNTS, counts, strict=True))
    return stored


def contradictions(evidence: Evidence, stored: Stored) -> list[str]:
    """Every way in which the two disagree, in words, with a few examples each; none is as it should be."""
    times: Counter[Identity] = Counter()
    for (identity, _), count in stored.values.items():
        times[identity] += count
    pairs = stored.values.keys()
    found = [
        _said("acknowledged, but not stored", evidence.acknowledged.items() - pairs),
        _said("stored, but never sent with this value", pairs - evidence.attempted.items()),
        _said("stored more than once", [identity for identity, count in times.items() if count > 1]),
        _said("acknowledged without a receipt in the store", evidence.receipts.keys() - stored.receipts),
        _said("receipts of keys that were never sent", stored.receipts.keys() - evidence.keys),
        _said("receipts that differ from what was answered", _different(evidence, stored)),
        _said("answers that should not have been", evidence.wrong),
    ]
    accepted = sum(receipt["accepted"] for receipt in stored.receipts.values())
    if accepted != stored.rows:
        found.append(f"the receipts accept {accepted} readings, {stored.rows} rows are stored")
    return [one for one in found if one is not None]


def _different(evidence: Evidence, stored: Stored) -> list[str]:
    return [
        f"{key}: answered {receipt}, stored {stored.receipts[key]}"
        for key, receipt in evidence.receipts.items()
        if key in stored.receipts and stored.receipts[key] != receipt
    ]


def _said(what: str, which: Iterable[object]) -> str | None:
    listed = list(which)
    if not listed:
        return None
    return f"{len(listed)} {what}: {'; '.join(map(str, listed[:_EXAMPLES]))}"
