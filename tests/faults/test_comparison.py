"""The comparison finds each way in which a store can contradict its acknowledgements."""

import io
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.comparison import Stored, contradictions
from tests.faults.journal import Evidence, Journal, counts_of, read_journals
from tests.faults.load import Batch, Load, Reading, corrected_value
from tests.faults.truth import Truth, is_own, original

RECEIPT = counts_of(
    {"received": 1, "accepted": 1, "duplicate": 0, "quarantined": 0, "late": 0, "conflicting": 0}
)
SENT = (("P", 1, "voltage_v"), 350_000)
UNKNOWN_OUTCOME = (("P", 2, "voltage_v"), 351_000)
DELETED = (("P", 4, "voltage_v"), 352_000)


def evidence() -> Evidence:
    """Two readings were sent, each in a batch; the second batch was not acknowledged. A third was deleted."""
    return Evidence(
        possible={identity: {value} for identity, value in (SENT, UNKNOWN_OUTCOME, DELETED)},
        certain=dict([SENT]),
        gone={DELETED[0]},
        receipts={"first": RECEIPT},
        keys={"first", "second"},
    )


def stored() -> Stored:
    return Stored(Counter([SENT]), {"first": RECEIPT}, rows=1, accepted=1)


def test_nothing_contradicts_when_only_the_acknowledged_is_stored() -> None:
    assert contradictions(evidence(), stored()) == []


def test_nothing_contradicts_when_what_had_no_answer_is_stored_too() -> None:
    both = Stored(Counter([SENT, UNKNOWN_OUTCOME]), {"first": RECEIPT, "second": RECEIPT}, rows=2, accepted=2)
    assert contradictions(evidence(), both) == []


def lose(found: Stored) -> None:
    found.values.clear()


def double(found: Stored) -> None:
    found.values[SENT] += 1


def double_with_another_value(found: Stored) -> None:
    found.values[SENT[0], 349_999] += 1


def invent(found: Stored) -> None:
    found.values[("P", 3, "voltage_v"), 350_000] += 1


def lose_the_receipt(found: Stored) -> None:
    found.receipts.clear()


def change_the_receipt(found: Stored) -> None:
    found.receipts["first"] = RECEIPT | {"accepted": 0, "duplicate": 1}


def invent_a_receipt(found: Stored) -> None:
    found.receipts["third"] = RECEIPT


def bring_back(found: Stored) -> None:
    found.values[DELETED] += 1


def lose_a_row(found: Stored) -> None:
    found.accepted = 0


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lose, "acknowledged, but not stored"),
        (double, "stored more than once"),
        (double_with_another_value, "stored more than once"),
        (invent, "never sent"),
        (lose_the_receipt, "without a receipt"),
        (change_the_receipt, "differ from what was answered"),
        (invent_a_receipt, "keys that were never sent"),
        (bring_back, "deleted, but stored"),
        (lose_a_row, "the receipts accept 1 readings, 0 are or were stored"),
    ],
)
def test_every_harm_is_found(harm: Callable[[Stored], None], said: str) -> None:
    found = stored()
    harm(found)
    assert any(said in one for one in contradictions(evidence(), found))


def test_answers_that_should_not_have_been_are_found() -> None:
    noticed = evidence()
    noticed.wrong.append("first: answered 500")
    assert contradictions(noticed, stored()) == ["1 answers that should not have been: first: answered 500"]


def test_latest_is_the_value_of_the_largest_time() -> None:
    later = (("P", 5, "voltage_v"), 1)
    assert Stored(Counter([SENT, later])).latest() == {("P", "voltage_v"): (5, 1)}


READINGS = [
    Reading("own", ts_ms, (("voltage_v", original(("own", ts_ms, "voltage_v"))),)) for ts_ms in range(4)
]
IDENTITIES = [one.identities()[0][0] for one in READINGS]


def told(tmp_path: Path, write: Callable[[Journal], None], *, cut: int = 0) -> Evidence:
    """What a journal tells whose end was cut off."""
    text = io.StringIO()
    write(Journal(text))
    path = tmp_path / "writer.jsonl"
    path.write_text(text.getvalue()[: len(text.getvalue()) - cut])
    return read_journals([path])


def test_journal_comes_back_as_evidence_without_the_line_that_was_cut_off(tmp_path: Path) -> None:
    def write(journal: Journal) -> None:
        journal.attempted("first", Batch(READINGS[:1]))
        journal.acknowledged("first", RECEIPT, attempts=2)
        journal.wrong("second", "answered 500")
        journal.attempted("third", Batch(READINGS[1:2]))

    found = told(tmp_path, write, cut=2)
    assert found.possible == {IDENTITIES[0]: {original(IDENTITIES[0])}}
    assert found.certain == {IDENTITIES[0]: original(IDENTITIES[0])}
    assert (found.receipts, found.keys, found.retried) == ({"first": RECEIPT}, {"first"}, 1)
    assert found.wrong == ["second: answered 500"]


def deletion(ts_ms: int) -> dict[str, str]:
    bounds = {"from": f"1970-01-01T00:00:00.00{ts_ms}Z", "to": f"1970-01-01T00:00:00.00{ts_ms + 1}Z"}
    return {"kind": "delete_range", "pack": "own"} | bounds


def test_corrections_that_are_done_are_certain_and_one_without_an_answer_leaves_both(tmp_path: Path) -> None:
    right = {"voltage_v": corrected_value(IDENTITIES[1]) / 1000}

    def write(journal: Journal) -> None:
        journal.attempted("sent", Batch(READINGS))
        journal.acknowledged("sent", RECEIPT, attempts=1)
        journal.asked("deleted", deletion(0))
        journal.done("deleted", attempts=1)
        journal.asked(
            "put right",
            {"kind": "correct", "pack": "own", "ts": "1970-01-01T00:00:00.001Z", "values": right},
        )
        journal.done("put right", attempts=1)
        journal.asked("deleted, perhaps", deletion(2))

    found = told(tmp_path, write)
    assert found.gone == {IDENTITIES[0]}
    assert found.certain == {
        IDENTITIES[1]: corrected_value(IDENTITIES[1]),
        IDENTITIES[3]: original(IDENTITIES[3]),
    }
    assert found.possible[IDENTITIES[1]] == {original(IDENTITIES[1]), corrected_value(IDENTITIES[1])}


def test_truth_knows_that_what_was_deleted_stays_so_and_what_was_put_right_too() -> None:
    truth = Truth()
    assert truth.sent("first", None, [[one] for one in IDENTITIES]) == {"accepted": 4}
    truth.corrected(deletion(0))
    values = {"voltage_v": corrected_value(IDENTITIES[1]) / 1000}
    truth.corrected({"kind": "correct", "pack": "own", "ts": "1970-01-01T00:00:00.001Z", "values": values})
    again = truth.sent("second", None, [[one] for one in IDENTITIES])
    assert again == {"quarantined": 1, "duplicate": 3, "deleted": 1}
    truth.corrected({"kind": "delete_batch", "batch": "first"})
    assert truth.held.keys() == {IDENTITIES[1]}
    assert truth.gone() == {IDENTITIES[0], IDENTITIES[2], IDENTITIES[3]}


def test_load_follows_from_the_seed_and_writers_meet_in_shared_packs() -> None:
    first, same, other = (Load(writer, 7, 10**12) for writer in (0, 0, 1))
    batches = [first.next_batch(10**12 + number) for number in range(200)]
    assert [same.next_batch(10**12 + number) for number in range(200)] == batches
    mine = {identity for batch in batches for one in batch.readings for identity in one.identities()}
    theirs = {
        identity
        for number in range(200)
        for one in other.next_batch(10**12 + number).readings
        for identity in one.identities()
    }
    common = {pack for (pack, _, _), _ in mine & theirs}
    assert common
    assert all(pack.startswith("shared-") for pack in common)
    assert any(batch.imported for batch in batches)
    assert json.dumps([one.as_json() for one in batches[0].readings])


def test_load_corrects_only_what_its_writer_alone_reports() -> None:
    load, truth = Load(0, 7, 10**12), Truth()
    for number in range(100):
        batch = load.next_batch(10**12 + number)
        own = [one for one in batch.readings if is_own(one.pack)]
        truth.sent(str(number), None, [[identity for identity, _ in one.identities()] for one in own])
        load.sent(str(number), batch)
    kinds: Counter[str] = Counter()
    for _ in range(200):
        correction = load.next_correction(truth, "an import")
        assert correction is not None
        kinds[correction["kind"]] += 1
        assert correction.get("pack", "own-0").startswith(("own-0", "past-0"))
    assert kinds.keys() == {"delete_range", "correct", "delete_batch", "delete_import"}
