"""A writer's log: what it tried, and what it was told is done."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from tests.faults.load import ALARM_MEASURE, Batch, corrected_value
from tests.faults.truth import Identity, Truth, is_own, original

COUNTS = ("received", "accepted", "duplicate", "quarantined", "late", "conflicting")

Receipt = dict[str, int]


def counts_of(answer: Mapping[str, Any]) -> Receipt:
    """The counts of a receipt."""
    return {name: int(answer[name]) for name in COUNTS}


class Journal:
    """Writes one line an event and hands it to the system at once; a killed writer loses at most the last."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def attempted(self, key: str, batch: Batch, imported: str | None = None) -> None:
        readings = [[one.pack, one.ts_ms, [name for name, _ in one.thousandths]] for one in batch.readings]
        self._write({"what": "attempted", "key": key, "import": imported, "readings": readings})

    def acknowledged(self, key: str, receipt: Receipt, attempts: int) -> None:
        self._write({"what": "acknowledged", "key": key, "receipt": receipt, "attempts": attempts})

    def asked(self, key: str, correction: Mapping[str, Any]) -> None:
        """A correction may be asked for more than once before its answer comes; twice is as once."""
        self._write({"what": "asked", "key": key, "correction": correction})

    def done(self, key: str, attempts: int) -> None:
        self._write({"what": "done", "key": key, "attempts": attempts})

    def wrong(self, key: str, why: str) -> None:
        self._write({"what": "wrong", "key": key, "why": why})

    def _write(self, event: dict[str, Any]) -> None:
        self._file.write(json.dumps(event) + "\n")
        self._file.flush()


@dataclass(slots=True)
class Evidence:
    """What all writers logged.

    possible: the values that an identity may have. certain: those that are stored, whatever became of requests without
    an answer. gone: what was deleted. receipts by key, and the keys. alarms by pack: time, value and whether it was
    acknowledged, in the order of sending. wrong: answers that should not have been.
    """

    possible: dict[Identity, set[int]] = field(default_factory=dict)
    certain: dict[Identity, int] = field(default_factory=dict)
    gone: set[Identity] = field(default_factory=set)
    receipts: dict[str, Receipt] = field(default_factory=dict)
    keys: set[str] = field(default_factory=set)
    alarms: dict[str, list[tuple[int, int, bool]]] = field(default_factory=dict)
    retried: int = 0
    corrections: int = 0
    wrong: list[str] = field(default_factory=list)


def read_journals(paths: Iterable[Path]) -> Evidence:
    """The evidence in the writers' logs. A last line that was cut off counts as not written."""
    evidence = Evidence()
    for path in paths:
        reader = _Reader(evidence)
        for line in path.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                reader.add(json.loads(line))
        reader.end()
    return evidence


@dataclass(slots=True)
class _Reader:
    """Follows one writer's log."""

    evidence: Evidence
    truth: Truth = field(default_factory=Truth)
    unanswered: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, event: dict[str, Any]) -> None:
        evidence, key = self.evidence, event["key"]
        match event["what"]:
            case "attempted":
                self.unanswered[key] = event
                evidence.keys.add(key)
                for identity in _identities(event):
                    evidence.possible.setdefault(identity, {original(identity)})
            case "acknowledged":
                self._acknowledged(self.unanswered.pop(key))
                evidence.receipts[key] = event["receipt"]
                evidence.retried += event["attempts"] > 1
            case "asked":
                self.unanswered[key] = event
                if event["correction"]["kind"] == "correct":
                    for identity in self.truth.touched(event["correction"]):
                        evidence.possible[identity].add(corrected_value(identity))
            case "done":
                self.truth.corrected(self.unanswered.pop(key)["correction"])
                evidence.corrections += 1
                evidence.retried += event["attempts"] > 1
            case _:
                evidence.wrong.append(f"{key}: {event['why']}")

    def _acknowledged(self, attempt: dict[str, Any]) -> None:
        own = [
            [(pack, ts_ms, name) for name in names]
            for pack, ts_ms, names in attempt["readings"]
            if is_own(pack)
        ]
        self.truth.sent(attempt["key"], attempt["import"], own)
        for identity in _identities(attempt):
            if not is_own(identity[0]):
                self.evidence.certain[identity] = original(identity)
        self._note_alarms(attempt, acknowledged=True)

    def _note_alarms(self, attempt: dict[str, Any], *, acknowledged: bool) -> None:
        for pack, ts_ms, measure in _identities(attempt):
            if measure == ALARM_MEASURE:
                alarm = ts_ms, original((pack, ts_ms, measure)), acknowledged
                self.evidence.alarms.setdefault(pack, []).append(alarm)

    def end(self) -> None:
        """Of what had no answer, nothing is certain."""
        unsure: set[Identity] = set()
        for event in self.unanswered.values():
            if event["what"] == "asked":
                unsure |= set(self.truth.touched(event["correction"]))
            else:
                self._note_alarms(event, acknowledged=False)
        self.evidence.gone |= self.truth.gone() - unsure
        for identity, held in self.truth.held.items():
            if identity not in unsure:
                self.evidence.certain[identity] = held.value


def _identities(attempt: Mapping[str, Any]) -> Sequence[Identity]:
    return [(pack, ts_ms, name) for pack, ts_ms, names in attempt["readings"] for name in names]
