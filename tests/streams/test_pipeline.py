"""The pipeline's two steps against an obvious model: a dictionary of identities."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import uuid4

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.measures import MEASURES
from domain.readings import (
    ABSENT,
    FormerReadings,
    Found,
    IncomingBatch,
    LookUps,
    Outcome,
    ReadingBatch,
    StoredReadings,
)
from domain.receipts import ItemOutcome, Mode, Receipt
from domain.tenancy import TenantId
from streams.pipeline import PipelineLimits, decide, plan
from streams.state import State

LIMITS = PipelineLimits(late_after_s=900, receipt_items_max=1000)
ARRIVED_MS = 1_800_000_000_000

Reading = tuple[int, int, dict[int, int]]
"""Pack, time, thousandths by measure."""


class Numbered:
    """Raw items that tell their index."""

    def __call__(self, index: int) -> str:
        return f"reading {index}"

    def release(self) -> None:
        """Nothing to do."""


def batch_of(readings: Sequence[Reading], mode: Mode = Mode.LIVE) -> IncomingBatch:
    thousandths = np.full((len(MEASURES), len(readings)), ABSENT, np.int32)
    for position, (_, _, values) in enumerate(readings):
        for measure, value in values.items():
            thousandths[measure, position] = value
    return IncomingBatch(
        id=uuid4(),
        tenant_id=TenantId(1),
        subject="tester",
        source="test",
        mode=mode,
        import_id=None,
        arrived_at_ms=ARRIVED_MS,
        body_hash=None,
        registry_version=0,
        body_bytes=0,
        received=len(readings),
        readings=ReadingBatch(
            np.arange(len(readings), dtype=np.int32),
            np.ones(len(readings), np.int32),
            np.ones(len(readings), np.int32),
            np.array([pack for pack, _, _ in readings], np.int32),
            np.array([ts for _, ts, _ in readings], np.int64),
            thousandths,
        ),
        quarantined=(),
        ignored_keys=(),
        raw_of=Numbered(),
    )


@dataclass
class Store:
    """Rows as they were inserted; answers look-ups like the table, one row for each insertion."""

    rows: list[Reading] = field(default_factory=list)
    state: State = field(default_factory=State)

    def find(self, look_ups: LookUps) -> Found:
        keys = look_ups.stored
        wanted = set(zip(keys.pack.tolist(), keys.ts_ms.tolist(), strict=True))
        found = batch_of([row for row in self.rows if row[:2] in wanted]).readings
        return Found(StoredReadings(found.pack, found.ts_ms, found.thousandths), FormerReadings.none())

    def commit(self, batches: Sequence[IncomingBatch]) -> tuple[Receipt, ...]:
        outcome = decide(batches, self.find(plan(batches, self.state)), LIMITS)
        self._insert(outcome)
        self.state.apply(outcome.rows)
        return tuple(result.receipt for result in outcome.results)

    def _insert(self, outcome: Outcome) -> None:
        rows = outcome.rows
        for position in range(len(rows)):
            values = {
                measure: int(value)
                for measure, value in enumerate(rows.thousandths[:, position])
                if value != ABSENT
            }
            self.rows.append((int(rows.pack[position]), int(rows.ts_ms[position]), values))

    def identities(self) -> dict[tuple[int, int, int], int]:
        found: dict[tuple[int, int, int], int] = {}
        for pack, ts, values in self.rows:
            for measure, value in values.items():
                assert (pack, ts, measure) not in found, "an identity was stored twice"
                found[pack, ts, measure] = value
        return found


def model_of(readings: Sequence[Reading]) -> dict[tuple[int, int, int], int]:
    found: dict[tuple[int, int, int], int] = {}
    for pack, ts, values in readings:
        for measure, value in values.items():
            found.setdefault((pack, ts, measure), value)
    return found


readings_strategy = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.integers(0, 5),
        st.dictionaries(st.integers(0, 2), st.integers(0, 2), min_size=1, max_size=3),
    ),
    max_size=20,
)


@given(readings=readings_strategy, data=st.data())
@settings(max_examples=150, deadline=None)
def test_e2_any_split_and_replay_stores_each_identity_once(
    readings: list[Reading], data: st.DataObject
) -> None:
    sent = readings + data.draw(st.lists(st.sampled_from(readings), max_size=5)) if readings else []
    store = Store()
    position = 0
    while position < len(sent):
        cuts = data.draw(st.lists(st.integers(0, 6), min_size=1, max_size=3))
        group = []
        for size in cuts:
            group.append(batch_of(sent[position : position + size]))
            position += size
        for receipt in store.commit(group):
            assert receipt.accepted + receipt.duplicate + receipt.quarantined == receipt.received
            assert receipt.conflicting <= receipt.quarantined
    assert store.identities() == model_of(sent)


@given(readings=readings_strategy)
@settings(max_examples=100, deadline=None)
def test_e12_restored_state_is_the_state_that_was(readings: list[Reading]) -> None:
    store = Store()
    store.commit([batch_of(readings[: len(readings) // 2])])
    saved = store.state.touched(np.empty(0, np.int32))
    before = len(store.rows)
    store.commit([batch_of(readings[len(readings) // 2 :])])
    later = batch_of(store.rows[before:]).readings
    restored = State.restored(saved, StoredReadings(later.pack, later.ts_ms, later.thousandths))
    for pack in range(3):
        assert restored.latest_of(pack) == store.state.latest_of(pack)
    assert restored.touched(np.empty(0, np.int32)).pack.tolist() == sorted(set(later.pack.tolist()))


def test_e10_reading_newer_than_its_packs_watermark_needs_no_look_up() -> None:
    store = Store()
    store.commit([batch_of([(1, 100, {0: 5})])])
    wanted = plan(
        [batch_of([(1, 101, {0: 5}), (1, 100, {1: 5}), (1, 100, {0: 5}), (2, 1, {0: 1})])], store.state
    ).stored
    assert list(zip(wanted.pack.tolist(), wanted.ts_ms.tolist(), strict=True)) == [(1, 100)]


def test_e2_reading_with_new_and_conflicting_measures_is_accepted_with_an_item() -> None:
    store = Store()
    store.commit([batch_of([(1, 100, {0: 5})])])
    (receipt,) = store.commit([batch_of([(1, 100, {0: 6, 1: 7}), (1, 100, {0: 6}), (1, 100, {0: 5})])])
    assert (receipt.accepted, receipt.quarantined, receipt.conflicting, receipt.duplicate) == (1, 1, 1, 1)
    assert [(item.index, item.outcome, item.field) for item in receipt.items] == [
        (0, ItemOutcome.CONFLICT, MEASURES[0].name),
        (1, ItemOutcome.CONFLICT, MEASURES[0].name),
    ]
    assert not receipt.complete
    assert store.identities() == {(1, 100, 0): 5, (1, 100, 1): 7}


def test_late_counts_live_readings_long_after_their_time_and_no_imports() -> None:
    old, recent = ARRIVED_MS - 900_001, ARRIVED_MS - 900_000
    readings: list[Reading] = [(1, old, {0: 1}), (1, recent, {0: 1})]
    assert Store().commit([batch_of(readings)])[0].late == 1
    assert Store().commit([batch_of(readings, Mode.IMPORT)])[0].late == 0


def test_items_beyond_the_limit_are_counted() -> None:
    store = Store()
    readings: list[Reading] = [(1, moment, {0: 1}) for moment in range(1500)]
    store.commit([batch_of(readings)])
    (receipt,) = store.commit([batch_of([(1, moment, {0: 2}) for moment in range(1500)])])
    assert (len(receipt.items), receipt.items_omitted, receipt.conflicting) == (1000, 500, 1500)


def test_rows_leave_sorted_by_pack_and_time() -> None:
    batches = [batch_of([(2, 5, {0: 1}), (1, 9, {0: 1})]), batch_of([(1, 3, {0: 1}), (2, 1, {0: 1})])]
    rows = decide(batches, Found(StoredReadings.none(), FormerReadings.none()), LIMITS).rows
    assert list(zip(rows.pack.tolist(), rows.ts_ms.tolist(), rows.batch.tolist(), strict=True)) == [
        (1, 3, 1),
        (1, 9, 0),
        (2, 1, 1),
        (2, 5, 0),
    ]
