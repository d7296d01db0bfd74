"""A writer's log: what it tried to send, and what it was told is committed."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from tests.faults.load import Identity, Reading

COUNTS = ("received", "accepted", "duplicate", "quarantined", "late", "conflicting")

Receipt = dict[str, int]


def counts_of(answer: Mapping[str, Any]) -> Receipt:
    """The counts of a receipt."""
    return {name: int(answer[name]) for name in COUNTS}


class Journal:
    """Writes one line an event and hands it to the system at once; a killed writer loses at most the last."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def attempted(self, key: str, batch: Sequence[Reading]) -> None:
        readings = [[one.pack, one.ts_ms, dict(one.thousandths)] for one in batch]
        self._write({"what": "attempted", "key": key, "readings": readings})

    def acknowledged(self, key: str, receipt: Receipt, attempts: int) -> None:
        self._write({"what": "acknowledged", "key": key, "receipt": receipt, "attempts": attempts})

    def wrong(self, key: str, why: str) -> None:
        self._write({"what": "wrong", "key": key, "why": why})

    def _write(self, event: dict[str, Any]) -> None:
        self._file.write(json.dumps(event) + "\n")
        self._file.flush()


@dataclass(slots=True)
class Evidence:
    """What all writers logged: values by identity, receipts by key, and answers that should not have been."""

    attempted: dict[Identity, int] = field(default_factory=dict)
    acknowledged: dict[Identity, int] = field(default_factory=dict)
    receipts: dict[str, Receipt] = field(default_factory=dict)
    keys: set[str] = field(default_factory=set)
    retried: int = 0
    wrong: list[str] = field(default_factory=list)


def read_journals(paths: Iterable[Path]) -> Evidence:
    """The evidence in the writers' logs. A last line that was cut off counts as not written."""
    evidence = Evidence()
    for path in paths:
        sent: dict[str, dict[Identity, int]] = {}
        for line in path.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                _add(evidence, sent, json.loads(line))
    return evidence


def _add(evidence: Evidence, sent: dict[str, dict[Identity, int]], event: dict[str, Any]) -> None:
    key = event["key"]
    if event["what"] == "attempted":
        values = {
            (pack, ts_ms, name): value
            for pack, ts_ms, measures in event["readings"]
            for name, value in measures.items()
        }
        sent[key] = values
        evidence.keys.add(key)
        evidence.attempted |= values
    elif event["what"] == "acknowledged":
        evidence.acknowledged |= sent[key]
        evidence.receipts[key] = event["receipt"]
        evidence.retried += event["attempts"] > 1
    else:
        evidence.wrong.append(f"{key}: {event['why']}")
