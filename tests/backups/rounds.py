"""A round: a backup during ingest, restored elsewhere, with kills of both in between when that is asked."""

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from storage import operation
from storage.database import SCHEMA
from tests.faults.engine_process import ROOT, EngineProcess, EngineStuckError, until
from tests.steady_load import SteadyLoad, contradictions, make_tenant, stored

_BPM = "from api.cli.main import main; main()"
_COMMAND_S_MAX = 120.0
_BATCHES_MIN = 20


class BackupWrongError(Exception):
    """A backup or a restore isn't what it should be."""


@dataclass(slots=True)
class Result:
    """What was done and how long it took."""

    done: Counter[str] = field(default_factory=Counter)
    acknowledged: int = 0
    restored: int = 0
    backup_s: list[float] = field(default_factory=list)
    restore_s: list[float] = field(default_factory=list)


def bpm(engine: EngineProcess, *arguments: str | Path) -> subprocess.Popen[str]:
    """A command on the data directory of an engine, under way."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BPM_")} | {
        "PYTHONPATH": str(ROOT),
        "BPM_DATA_DIR": str(engine.data_dir),
        "BPM_PORT": str(engine.port),
        "BPM_POSTGRES_SHARED_BUFFERS_MB": "64",
    }
    return subprocess.Popen(
        [sys.executable, "-c", _BPM, *map(str, arguments)],
        env=environment,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str], code: int) -> str:
    """The standard output of a command that ended with the code. Raises BackupWrongError."""
    out, said = process.communicate(timeout=_COMMAND_S_MAX)
    if process.returncode != code:
        raise BackupWrongError(f"{process.args} ended with {process.returncode}, not {code}: {said}")
    return out


class Source:
    """An engine that takes readings in, of which backups are made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.engine = EngineProcess(folder)
        self.engine.start()
        self.engine.wait_ready()
        make_tenant(self.engine.connections())
        self.load = SteadyLoad(self.engine.port, self.engine.token("steady"), "P")

    def wait_progress(self) -> None:
        """Wait until more has been acknowledged: the engine is unharmed."""
        enough = self.load.acknowledged_batches() + _BATCHES_MIN
        until(lambda: self.load.acknowledged_batches() >= enough, "more acknowledgements")

    def clear(self) -> None:
        self.load.stop()
        self.engine.clear()


def back_up_and_restore(source: Source, number: int, result: Result, chance: random.Random | None) -> None:
    """A backup, restored to another directory, where an engine starts on it; then what it holds is compared.

    chance: when to kill; None kills nothing. Raises BackupWrongError.
    """
    source.wait_progress()
    place = source.folder / f"round-{number}"
    place.mkdir(mode=0o755)
    if chance is not None:
        _kill_backup(source, place / "killed", chance, result)
        source.wait_progress()
    backup = place / "backup"
    sure, began_s = source.load.acknowledged(), time.monotonic()
    told = json.loads(ended(bpm(source.engine, "backup", backup, "--json"), 0))
    result.backup_s.append(time.monotonic() - began_s)
    result.done["backups"] += 1
    source.wait_progress()
    target = EngineProcess(place)
    if chance is not None and _kill_restore(source, backup, target, chance, result):
        # What a restore has finished is an installation, also when nobody was told: whole, and to be kept.
        _compare(source, target, told, None, sure, result)
        target.data_dir = target.folder / "again"
    began_s = time.monotonic()
    restored = json.loads(ended(bpm(source.engine, "restore", backup, "--to", target.data_dir, "--json"), 0))
    result.restore_s.append(time.monotonic() - began_s)
    result.done["restores"] += 1
    _compare(source, target, told, restored["position"]["batch_no"], sure, result)
    shutil.rmtree(place)


def _kill_backup(source: Source, backup: Path, chance: random.Random, result: Result) -> None:
    """SIGKILL to a backup: what it left is refused, and nothing comes of it."""
    process = bpm(source.engine, "backup", backup)
    time.sleep(chance.uniform(0.1, _typical_s(result.backup_s, 1.5)))
    process.kill()
    process.communicate(timeout=_COMMAND_S_MAX)
    if process.returncode == 0:
        result.done["backups that were faster than their kill"] += 1
        return
    result.done["backups killed"] += 1
    target = backup.with_name("from-killed")
    if (backup / "manifest.json").exists():
        result.done["backups killed after their manifest"] += 1
        return
    ended(bpm(source.engine, "restore", backup, "--to", target), 3)
    if (target / "postgres").exists():
        raise BackupWrongError(f"a restore of {backup}, which isn't whole, left {target}")


def _kill_restore(
    source: Source, backup: Path, target: EngineProcess, chance: random.Random, result: Result
) -> bool:
    """SIGKILL to a restore: no engine takes what it left, unless it had finished. Gives whether it had."""
    process = bpm(source.engine, "restore", backup, "--to", target.data_dir)
    time.sleep(chance.uniform(0.3, _typical_s(result.restore_s, 2.0)))
    process.kill()
    process.communicate(timeout=_COMMAND_S_MAX)
    if process.returncode == 0:
        result.done["restores that were faster than their kill"] += 1
    else:
        result.done["restores killed"] += 1
    if not (target.data_dir / "restoring").exists():
        if not (target.data_dir / "postgres").exists():
            return False
        # Nothing may be restored over what is there.
        ended(bpm(source.engine, "restore", backup, "--to", target.data_dir), 3)
        result.done["restores finished before their kill"] += 1
        return True
    target.start()
    until(lambda: target.exit_code() is not None, "the engine to refuse a half restored directory")
    if target.exit_code() != 3:
        raise BackupWrongError(f"an engine on a half restored directory ended with {target.exit_code()}")
    result.done["half restored directories refused"] += 1
    return False


def _position(target: EngineProcess) -> int:
    """The last batch that is stored."""
    where = make_conninfo(target.connections().admin, options=f"-c search_path={SCHEMA}")
    with psycopg.connect(where, autocommit=True) as connection:
        return operation.position(connection).batch_no


def _typical_s(seconds: list[float], first_s: float) -> float:
    return sorted(seconds)[len(seconds) // 2] if seconds else first_s


def _compare(
    source: Source,
    target: EngineProcess,
    told: dict[str, Any],
    said: int | None,
    sure: list[Any],
    result: Result,
) -> None:
    """said: up to which batch the restore said that it had come; None when it could say nothing."""
    target.start()
    try:
        target.wait_ready()
        position = _position(target)
        if position < told["position"]["batch_no"] or said not in (None, position):
            raise BackupWrongError(
                f"restored up to {position}, said {said}, the backup's is {told['position']}"
            )
        found = stored(target.connections())
        token = target.token("steady")
        status, _ = target.request("GET", "/v1/packs", token=token)
        if status != 200:
            raise BackupWrongError(f"the restored engine answered {status}")
        target.stop()
    except EngineStuckError as error:
        raise BackupWrongError(f"the restored engine: {error}") from error
    finally:
        target.clear()
    wrong = [*contradictions(sure, found, source.load.attempted()), *source.load.wrong()]
    if found != stored(source.engine.connections(), position):
        wrong.append(f"the restored readings aren't those of the source up to batch {position}")
    if wrong:
        raise BackupWrongError("; ".join(wrong))
    result.acknowledged += len(sure)
    result.restored += len(found)
