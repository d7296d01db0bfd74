"""Whether what is stored agrees with what the writers logged (promises P1, P2 and P9)."""

from collections import Counter
from dataclasses import dataclass, field

import psycopg

from domain.clock import to_ms
from domain.measures import MEASURE_NAMES
from tests.faults.journal import COUNTS, Evidence, Receipt
from tests.faults.saying import said
from tests.faults.truth import Identity

_READINGS = f"""
    SELECT external_id, ts, {", ".join(MEASURE_NAMES)}
    FROM bpm.readings JOIN bpm.packs USING (pack_id)
"""
_BATCHES = f"SELECT id::text, {', '.join(COUNTS)} FROM bpm.batches"
# A reading is one row, until corrections part it; what they put in place has a number that no batch has.
_ACCEPTED = """
    SELECT count(*) FROM (
        SELECT batch_no, item_no FROM bpm.readings UNION SELECT batch_no, item_no FROM bpm.superseded_readings
    ) AS once JOIN bpm.batches USING (batch_no)
"""


@dataclass(slots=True)
class Stored:
    """What PostgreSQL holds: how often each identity with its value, receipts by key, and rows.

    accepted: the readings that batches ever brought, whatever corrections made of them since.
    """

    values: Counter[tuple[Identity, int]] = field(default_factory=Counter)
    receipts: dict[str, Receipt] = field(default_factory=dict)
    rows: int = 0
    accepted: int = 0

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
        ((stored.accepted,),) = connection.execute(_ACCEPTED).fetchall()
    return stored


def contradictions(evidence: Evidence, stored: Stored) -> list[str]:
    """Every way in which the two disagree, in words, with a few examples each; none is as it should be."""
    times: Counter[Identity] = Counter()
    for (identity, _), count in stored.values.items():
        times[identity] += count
    pairs = stored.values.keys()
    invented = [(one, value) for one, value in pairs if value not in evidence.possible.get(one, ())]
    found = [
        said("acknowledged, but not stored", evidence.certain.items() - pairs),
        said("deleted, but stored", evidence.gone & times.keys()),
        said("stored, but never sent with this value", invented),
        said("stored more than once", [identity for identity, count in times.items() if count > 1]),
        said("acknowledged without a receipt in the store", evidence.receipts.keys() - stored.receipts),
        said("receipts of keys that were never sent", stored.receipts.keys() - evidence.keys),
        said("receipts that differ from what was answered", _different(evidence, stored)),
        said("answers that should not have been", evidence.wrong),
    ]
    accepted = sum(receipt["accepted"] for receipt in stored.receipts.values())
    if accepted != stored.accepted:
        found.append(f"the receipts accept {accepted} readings, {stored.accepted} are or were stored")
    return [one for one in found if one is not None]


def _different(evidence: Evidence, stored: Stored) -> list[str]:
    return [
        f"{key}: answered {receipt}, stored {stored.receipts[key]}"
        for key, receipt in evidence.receipts.items()
        if key in stored.receipts and stored.receipts[key] != receipt
    ]
