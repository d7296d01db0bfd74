"""Outages of a spread installation: brokers that bounce or stay away, a database that hangs, a disk that is full."""

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from storage.embedded_postgres.layout import Layout
from storage.embedded_postgres.processes import read_record
from tests.kafka.spread import Spread
from tests.steady_load import SteadyLoad

FLOW_S = 1.0


def bounce(made: Spread, *, hard: bool, chance: random.Random) -> None:
    """A broker ends, hard or clean, stays away for a moment, and is back."""
    broker = chance.choice(made.cluster.brokers)
    if hard:
        broker.kill()
    else:
        broker.stop()
    time.sleep(FLOW_S * chance.uniform(0.2, 2))
    broker.restart()


def replace_worker(made: Spread, name: str, *, hard: bool) -> None:
    """A worker ends, killed or told to stop, and starts again."""
    if hard:
        made.workers[name].kill()
    else:
        made.workers[name].stop()
    made.worker(name).wait_ready()


@contextmanager
def kafka_away(made: Spread) -> Iterator[None]:
    """All brokers are gone until the end."""
    for broker in made.cluster.brokers:
        broker.kill()
    yield
    made.cluster.start()


@contextmanager
def postgres_hanging(made: Spread) -> Iterator[None]:
    """The database server and all its processes stand still until the end; connections stay open."""
    record = read_record(Layout.at(made.engine.data_dir).record)
    assert record is not None
    assert record.pid is not None
    server = psutil.Process(record.pid)
    held = [server, *server.children(recursive=True)]
    for process in held:
        os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in held:
            if process.is_running():
                os.kill(process.pid, signal.SIGCONT)


@contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """Nothing more fits onto the disk of a folder until the end."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        block = b"\0" * (1 << 20)
        while block:
            try:
                file.write(block)
            except OSError:
                block = block[: len(block) // 2]
    try:
        yield
    finally:
        ballast.unlink()


def acknowledged_while(load: SteadyLoad, seconds: float) -> int:
    """How many batches are acknowledged meanwhile."""
    before = load.acknowledged_batches()
    time.sleep(seconds)
    return load.acknowledged_batches() - before
