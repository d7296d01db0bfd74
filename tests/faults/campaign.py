"""A round of faults on one installation while writers work, and the comparison at its end."""

import random
import shutil
import subprocess
import sys
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

from domain.clock import to_ms
from storage.database import INGEST_ROLE, conninfo_as
from storage.registry import create_tenant
from tests.faults.comparison import Stored, contradictions, read_stored
from tests.faults.engine_process import ROOT, EngineProcess, EngineStuckError, until
from tests.faults.journal import read_journals

TENANT = "faults"
WRITERS = 4
ACKNOWLEDGEMENTS_MIN = 1_000

_BEFORE_FAULT_S = (0.05, 1.0)
_WHILE_STARTING_SHARE = 0.25
_STARTING_S = (0.0, 2.5)
_FAILPOINT_GROUPS_MAX = 40
_PROGRESS_S_MAX = 60.0
_ENOUGH_S_MAX = 120.0
_START_BEFORE_S = 600


class Fault(StrEnum):
    """What is done to the engine."""

    APP = "app"
    POSTGRES = "postgres"
    BEFORE_COMMIT = "before_commit"
    AFTER_COMMIT = "after_commit"

    @property
    def is_failpoint(self) -> bool:
        return self in (Fault.BEFORE_COMMIT, Fault.AFTER_COMMIT)


@dataclass(slots=True)
class Result:
    """What a round did and found. `recovered_s` are the times until readings were accepted again."""

    done: Counter[Fault] = field(default_factory=Counter)
    killed_while_starting: int = 0
    recovered_s: list[float] = field(default_factory=list)
    attempted: int = 0
    acknowledged: int = 0
    retried: int = 0
    rows: int = 0
    contradictions: list[str] = field(default_factory=list)

    def require_agreement(self) -> None:
        """Raises DisagreementError when anything was lost, invented or doubled."""
        if self.contradictions:
            raise DisagreementError("\n".join(self.contradictions))


class DisagreementError(Exception):
    """What is stored contradicts what was acknowledged."""


def _start_writer(facts: dict[str, object]) -> subprocess.Popen[bytes]:
    arguments = [f"--{name}={value}" for name, value in facts.items()]
    return subprocess.Popen([sys.executable, "-m", "tests.faults.writer", *arguments], cwd=ROOT)


class Writers:
    """The writer processes and their journals."""

    def __init__(self, engine: EngineProcess, folder: Path, seed: int) -> None:
        token, start_ms = engine.token(TENANT), (int(time.time()) - _START_BEFORE_S) * 1000
        self.journals = [folder / f"writer-{number}.jsonl" for number in range(WRITERS)]
        self._sizes = [0] * WRITERS
        self._acknowledged = 0
        facts = {"token": token, "port": engine.port, "seed": seed, "start-ms": start_ms}
        self._processes = [
            _start_writer(facts | {"number": n, "journal": self.journals[n]}) for n in range(WRITERS)
        ]

    def acknowledged(self) -> int:
        """Acknowledgements logged so far."""
        for number, journal in enumerate(self.journals):
            if journal.exists():
                with journal.open("rb") as file:
                    file.seek(self._sizes[number])
                    new = file.read()
                whole = new[: new.rfind(b"\n") + 1]
                self._sizes[number] += len(whole)
                self._acknowledged += whole.count(b'{"what": "acknowledged"')
        return self._acknowledged

    def wait_progress(self) -> None:
        """Wait until more has been acknowledged. Raises EngineStuckError."""
        before = self.acknowledged()
        until(lambda: self.acknowledged() > before, "another acknowledgement", _PROGRESS_S_MAX)

    def stop(self) -> None:
        """Let every writer end. Raises EngineStuckError when one failed."""
        for process in self._processes:
            process.terminate()
        codes = [process.wait(_ENOUGH_S_MAX) for process in self._processes]
        if any(codes):
            raise EngineStuckError(f"the writers ended with {codes}")

    def clear(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


class Round:
    """Does faults one after the other, each at a moment that follows from the seed."""

    def __init__(self, engine: EngineProcess, seed: int, report: Callable[[str], None]) -> None:
        self._engine = engine
        self._seed = seed
        self._chance = random.Random(seed)
        self._report = report
        self.result = Result()

    def run(self, faults: Sequence[Fault]) -> Result:
        """Everything, comparison included. Raises EngineStuckError when the engine doesn't come back."""
        engine = self._engine
        engine.start()
        engine.wait_ready()
        administrator = engine.connections().admin
        create_tenant(
            conninfo_as(administrator, INGEST_ROLE, application="faults"), TENANT, register_unknown_packs=True
        )
        writers = Writers(engine, engine.folder, self._seed)
        try:
            writers.wait_progress()
            for number, fault in enumerate(faults, 1):
                self._do(fault, next(iter(faults[number:]), None), writers)
                self._report(f"{number}/{len(faults)} {fault}, {writers.acknowledged()} acknowledged")
            until(lambda: writers.acknowledged() >= ACKNOWLEDGEMENTS_MIN, "enough receipts", _ENOUGH_S_MAX)
            writers.stop()
        finally:
            writers.clear()
        self._compare(writers)
        return self.result

    def _do(self, fault: Fault, following: Fault | None, writers: Writers) -> None:
        engine = self._engine
        if fault.is_failpoint:
            if engine.failpoint is None:
                engine.stop()
                self._start_for(fault)
            engine.wait_killed()
            self._restart(following)
        else:
            time.sleep(self._chance.uniform(*_BEFORE_FAULT_S))
            if fault is Fault.POSTGRES:
                began_s = time.monotonic()
                engine.kill_postgres()
                engine.wait_ready()
                self.result.recovered_s.append(time.monotonic() - began_s)
            else:
                engine.kill()
                self._restart(following)
        if engine.failpoint is None:
            writers.wait_progress()
        self.result.done[fault] += 1

    def _restart(self, following: Fault | None) -> None:
        """Start again, sometimes only after another kill while it was starting."""
        engine, began_s = self._engine, time.monotonic()
        if self._chance.random() < _WHILE_STARTING_SHARE:
            engine.start()
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
        self._engine.start(failpoint)

    def _compare(self, writers: Writers) -> None:
        """After one more restart, so that what is answered as latest was loaded from the store."""
        engine = self._engine
        engine.kill()
        engine.start()
        engine.wait_ready()
        evidence = read_journals(writers.journals)
        stored = read_stored(engine.connections().admin)
        result = self.result
        result.attempted, result.acknowledged = len(evidence.keys), len(evidence.receipts)
        result.retried, result.rows = evidence.retried, stored.rows
        result.contradictions = contradictions(evidence, stored) + latest_contradictions(engine, stored)


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
