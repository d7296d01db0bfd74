"""A round of faults on one installation while writers work, and the comparison at its end."""

import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from http import HTTPStatus
from pathlib import Path

import psycopg

from domain.clock import to_ms
from storage.database import INGEST_ROLE, conninfo_as
from storage.tenants import create as create_tenant
from tests.faults.alarms import add_rule, alert_contradictions, expected_alerts
from tests.faults.comparison import Stored, contradictions, read_stored
from tests.faults.engine_process import ROOT, EngineProcess, until
from tests.faults.journal import read_journals
from tests.faults.listener import Listener
from tests.faults.load import HISTORY_S
from tests.faults.windows import answered_contradictions, read_marks, read_snapshot, stored_contradictions
from tests.faults.writers import Writers

TENANT = "faults"
ACKNOWLEDGEMENTS_MIN = 1_000

_BEFORE_FAULT_S = (0.05, 1.0)
_WHILE_STARTING_SHARE = 0.25
_STARTING_S = (0.0, 2.5)
_FAILPOINT_GROUPS_MAX = 40
_ENOUGH_S_MAX = 120.0
_CLOSE_AFTER_S_MIN = 300
_COUNT_WAIT_S = 0.05
_PACKS_ASKED = 5

# A new installation closes all that lies before it. As if it had been there for a day, nothing of it is closed yet.
_NOT_CLOSED_YET = """
    UPDATE bpm.partitions SET closed_before = closed_before - %(back)s * interval '1 second';
    UPDATE bpm.window_marks SET counted_before = counted_before - %(back)s * interval '1 second';
    DELETE FROM bpm.day_marks
"""


class Fault(StrEnum):
    """What is done to the engine."""

    APP = "app"
    POSTGRES = "postgres"
    BEFORE_COMMIT = "before_commit"
    AFTER_COMMIT = "after_commit"
    IN_COUNT_BEFORE_COMMIT = "in_count_before_commit"
    IN_COUNT_AFTER_COMMIT = "in_count_after_commit"

    @property
    def is_failpoint(self) -> bool:
        return self not in (Fault.APP, Fault.POSTGRES)


@dataclass(slots=True)
class Result:
    """What a round did and found. `recovered_s` are the times until readings were accepted again.

    snapshots and answers: how often the store, and answered windows, were compared with a recount. waiting: the
    quarter-hours that were still to be counted when the store was looked at. quarters: those stored at the end.
    heard: events that a listener to live alerts got. drops: how often it left; broken: how often it was left.
    """

    done: Counter[Fault] = field(default_factory=Counter)
    killed_while_starting: int = 0
    recovered_s: list[float] = field(default_factory=list)
    attempted: int = 0
    acknowledged: int = 0
    retried: int = 0
    corrections: int = 0
    rows: int = 0
    alerts: int = 0
    snapshots: int = 0
    answers: int = 0
    waiting: int = 0
    quarters: int = 0
    heard: int = 0
    drops: int = 0
    broken: int = 0
    contradictions: list[str] = field(default_factory=list)

    def require_agreement(self) -> None:
        """Raises DisagreementError when anything was lost, invented or doubled."""
        if self.contradictions:
            raise DisagreementError("\n".join(self.contradictions))


class DisagreementError(Exception):
    """What is stored contradicts what was acknowledged."""


class Round:
    """Does faults one after the other, each at a moment that follows from the seed."""

    def __init__(self, engine: EngineProcess, seed: int, report: Callable[[str], None]) -> None:
        self._engine = engine
        self._seed = seed
        self._chance = random.Random(seed)
        self._report = report
        self._token = ""
        self._close_after_s = HISTORY_S
        self._close_step_s = 0
        self.result = Result()

    def run(self, faults: Sequence[Fault]) -> Result:
        """Everything, comparisons included.

        Raises EngineStuckError when the engine doesn't come back, DisagreementError at the first contradiction.
        """
        self._close_step_s = HISTORY_S // (len(faults) + 1)
        engine = self._engine
        self._start()
        engine.wait_ready()
        self._prepare()
        listener = Listener(engine, self._token, self._seed)
        writers = Writers(engine, self._token, engine.folder, self._seed)
        try:
            writers.wait_progress()
            for number, fault in enumerate(faults, 1):
                self._do(fault, next(iter(faults[number:]), None), writers)
                self._report(f"{number}/{len(faults)} {fault}, {writers.acknowledged()} acknowledged")
            until(lambda: writers.acknowledged() >= ACKNOWLEDGEMENTS_MIN, "enough receipts", _ENOUGH_S_MAX)
            writers.stop()
            self._compare(writers)
            self._compare_heard(listener)
        finally:
            writers.clear()
            listener.stop()
        return self.result

    def _prepare(self) -> None:
        administrator = self._engine.connections().admin
        create_tenant(
            conninfo_as(administrator, INGEST_ROLE, application="faults"), TENANT, register_unknown_packs=True
        )
        with psycopg.connect(administrator) as connection, psycopg.ClientCursor(connection) as cursor:
            cursor.execute(_NOT_CLOSED_YET, {"back": HISTORY_S})
        self._token = self._engine.token(TENANT)
        add_rule(self._engine, self._token)

    def _do(self, fault: Fault, following: Fault | None, writers: Writers) -> None:
        engine = self._engine
        if fault.is_failpoint:
            if engine.failpoint is None:
                engine.stop()
                self._start_for(fault)
            engine.wait_killed()
        else:
            time.sleep(self._chance.uniform(*_BEFORE_FAULT_S))
        if fault is Fault.POSTGRES:
            began_s = time.monotonic()
            engine.kill_postgres()
            engine.wait_ready()
            self.result.recovered_s.append(time.monotonic() - began_s)
            self._look()
        else:
            engine.kill()
            self._look()
            self._restart(following)
        if engine.failpoint is None:
            writers.wait_progress()
            with writers.paused():
                self._ask("PT15M", _PACKS_ASKED)
        self.result.done[fault] += 1

    def _restart(self, following: Fault | None) -> None:
        """Start again, sometimes only after another kill while it was starting."""
        engine, began_s = self._engine, time.monotonic()
        if self._chance.random() < _WHILE_STARTING_SHARE:
            self._start()
            time.sleep(self._chance.uniform(*_STARTING_S))
            engine.kill()
            self.result.killed_while_starting += 1
        self._start_for(following)
        # One that runs towards its failpoint may be gone before anybody sees that it was ready.
        if engine.failpoint is None:
            engine.wait_ready()
            self.result.recovered_s.append(time.monotonic() - began_s)

    def _start_for(self, fault: Fault | None) -> None:
        failpoint = None
        if fault is not None and fault.is_failpoint:
            failpoint = f"{fault}:{self._chance.randint(1, _FAILPOINT_GROUPS_MAX)}"
        self._start(failpoint)

    def _start(self, failpoint: str | None = None) -> None:
        """Each time a stretch of the past day closes and is to be counted, while readings about it still come."""
        settings = {"BPM_CLOSE_AFTER_S": str(self._close_after_s), "BPM_COUNT_WAIT_S": str(_COUNT_WAIT_S)}
        self._engine.start(failpoint, settings)
        self._close_after_s = max(_CLOSE_AFTER_S_MIN, self._close_after_s - self._close_step_s)

    def _look(self) -> None:
        """Compare what a kill has left in the store, before anything is put right. Raises DisagreementError."""
        administrator = self._engine.connections().admin
        self.result.snapshots += 1
        snapshot = read_snapshot(administrator)
        self.result.waiting += snapshot.waiting()
        self.result.contradictions += stored_contradictions(snapshot)
        self.result.contradictions += alert_contradictions(administrator)
        self.result.require_agreement()

    def _ask(self, step: str, packs_max: int = 100) -> None:
        """Compare the windows that are answered now. Raises DisagreementError."""
        self.result.answers += 1
        administrator = self._engine.connections().admin
        self.result.contradictions += answered_contradictions(
            administrator, self._engine, self._token, step, packs_max
        )
        self.result.require_agreement()

    def _compare(self, writers: Writers) -> None:
        """After one more restart, so that what is answered as latest was loaded from the store.

        Windows first as they are answered while there is still something to count, then when all is counted.
        """
        engine, result = self._engine, self.result
        engine.kill()
        self._close_after_s = _CLOSE_AFTER_S_MIN
        self._start()
        engine.wait_ready()
        self._ask("PT15M")
        administrator = engine.connections().admin
        until(lambda: read_marks(administrator).is_quiet, "everything to be counted", _ENOUGH_S_MAX)
        for step in ("PT15M", "P1D"):
            self._ask(step)
        self._look()
        evidence, stored = read_journals(writers.journals), read_stored(administrator)
        result.attempted, result.acknowledged = len(evidence.possible), len(evidence.receipts)
        result.retried, result.corrections = evidence.retried, evidence.corrections
        result.rows, result.quarters = stored.rows, len(read_snapshot(administrator).quarters)
        result.alerts = sum(len(expected_alerts(alarms)) for alarms in evidence.alarms.values())
        result.contradictions += contradictions(evidence, stored)
        result.contradictions += latest_contradictions(engine, stored)
        result.contradictions += alert_contradictions(administrator, evidence.alarms)

    def _compare_heard(self, listener: Listener) -> None:
        result = self.result
        result.contradictions += listener.contradictions(self._engine.connections().admin)
        result.heard, result.drops, result.broken = len(listener.events), listener.drops, listener.broken


@contextmanager
def kept_when_it_fails(seed: int) -> Iterator[Path]:
    """A folder for a round, removed when it went well; a failure names it and the seed."""
    folder = Path(tempfile.mkdtemp(prefix="bpm-faults-"))
    folder.chmod(0o755)
    try:
        yield folder
    except BaseException as error:
        error.add_note(f"seed {seed}; everything is kept in {folder}")
        raise
    shutil.rmtree(folder)


def run_round(
    faults: Sequence[Fault],
    seed: int,
    folder: Path,
    report: Callable[[str], None],
    packages: Path = ROOT,
) -> Result:
    """What a round on a new installation in the folder found. Raises EngineStuckError."""
    engine = EngineProcess(folder, packages=packages)
    try:
        result = Round(engine, seed, report).run(faults)
        engine.stop()
    finally:
        engine.clear()
    return result


def latest_contradictions(engine: EngineProcess, stored: Stored) -> list[str]:
    """Where the latest values that the engine answers aren't the latest that are stored."""
    token = engine.token(TENANT)
    found: dict[tuple[str, str], tuple[int, int]] = {}
    status, page = engine.request("GET", "/v1/packs?limit=1000", token=token)
    if status != HTTPStatus.OK:
        return [f"the list of packs was answered with {status}: {page}"]
    for pack in page["items"]:
        status, answer = engine.request("GET", f"/v1/packs/{pack['id']}/latest", token=token)
        if status != HTTPStatus.OK:
            return [f"the latest values of {pack['pack']} were answered with {status}: {answer}"]
        for measure, value in answer["latest"].items():
            found[pack["pack"], measure] = (
                to_ms(datetime.fromisoformat(value["ts"])),
                round(value["value"] * 1000),
            )
    expected = stored.latest()
    return [
        f"latest {measure} of {pack}: answered {found.get((pack, measure))}, "
        f"stored {expected.get((pack, measure))}"
        for pack, measure in sorted(found.keys() | expected.keys())
        if found.get((pack, measure)) != expected.get((pack, measure))
    ]
