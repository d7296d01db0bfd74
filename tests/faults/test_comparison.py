"""The comparison finds each way in which a store can contradict its acknowledgements."""

import io
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.comparison import Stored, contradictions
from tests.faults.journal import Evidence, Journal, counts_of, read_journals
from tests.faults.load import Load, Reading

RECEIPT = counts_of(
    {"received": 1, "accepted": 1, "duplicate": 0, "quarantined": 0, "late": 0, "conflicting": 0}
)
SENT = (("P", 1, "voltage_v"), 350_000)
UNKNOWN_OUTCOME = (("P", 2, "voltage_v"), 351_000)


def evidence() -> Evidence:
    """Two readings were sent, each in a batch; the second batch was not acknowledged."""
    return Evidence(
        attempted=dict([SENT, UNKNOWN_OUTCOME]),
        acknowledged=dict([SENT]),
        receipts={"first": RECEIPT},
        keys={"first", "second"},
    )


def stored() -> Stored:
    return Stored(Counter([SENT]), {"first": RECEIPT}, rows=1)


def test_nothing_contradicts_when_only_the_acknowledged_is_stored() -> None:
    assert contradictions(evidence(), stored()) == []


def test_nothing_contradicts_when_what_had_no_answer_is_stored_too() -> None:
    both = Stored(Counter([SENT, UNKNOWN_OUTCOME]), {"first": RECEIPT, "second": RECEIPT}, rows=2)
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


def lose_a_row(found: Stored) -> None:
    found.rows = 0


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
        (lose_a_row, "the receipts accept 1 readings, 0 rows are stored"),
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


def test_journal_comes_back_as_evidence_without_the_line_that_was_cut_off(tmp_path: Path) -> None:
    text = io.StringIO()
    journal = Journal(text)
    journal.attempted("first", [Reading("P", 1, (("voltage_v", 350_000),))])
    journal.acknowledged("first", RECEIPT, attempts=2)
    journal.wrong("second", "answered 500")
    journal.attempted("third", [Reading("P", 3, (("voltage_v", 350_000),))])
    path = tmp_path / "writer.jsonl"
    path.write_text(text.getvalue()[:-2])
    found = read_journals([path])
    assert (found.attempted, found.acknowledged) == (dict([SENT]), dict([SENT]))
    assert (found.receipts, found.keys, found.retried) == ({"first": RECEIPT}, {"first"}, 1)
    assert found.wrong == ["second: answered 500"]


def test_load_follows_from_the_seed_and_writers_meet_in_shared_packs() -> None:
    first, same, other = (Load(writer, 7, 0) for writer in (0, 0, 1))
    batches = [first.next_batch() for _ in range(200)]
    assert [same.next_batch() for _ in range(200)] == batches
    mine = {identity for batch in batches for one in batch for identity in one.identities()}
    theirs = {i for _ in range(200) for one in other.next_batch() for i in one.identities()}
    common = {pack for (pack, _, _), _ in mine & theirs}
    assert common
    assert all(pack.startswith("shared-") for pack in common)
    assert json.dumps([one.as_json() for one in batches[0]])
