"""The long run: `python -m tests.kafka.campaign --hard 50 --clean 50`, and outages of a minute."""

import argparse
import random
import secrets
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from storage.embedded_postgres import Connections
from tests import timescale
from tests.databases import empty_database
from tests.disk.rounds import MountRefusedError, small_disk
from tests.faults.engine_process import EngineStuckError
from tests.kafka.broker import BrokerStuckError
from tests.kafka.outages import (
    acknowledged_while,
    bounce,
    full_disk,
    kafka_away,
    postgres_hanging,
    replace_worker,
)
from tests.kafka.spread import PACKS, Spread, check, spread
from tests.steady_load import TENANT, SteadyLoad

BROKERS = 3
WORKER_EVERY = 5
DISK_MB = 96

console = Console(soft_wrap=True, highlight=False)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.kafka.campaign",
        description=f"Sends readings to an API with two workers and {BROKERS} brokers, bounces a broker again and "
        f"again, replaces a worker after every {WORKER_EVERY} bounces, and compares what is stored with what was "
        "acknowledged. Outages: all brokers away, a database that hangs, a broker's disk that is full. "
        "Exit codes: 0 all of it held, 1 it didn't, 2 usage.",
    )
    parser.add_argument("--hard", type=int, default=50, metavar="N", help="brokers killed (default 50)")
    parser.add_argument(
        "--clean", type=int, default=50, metavar="N", help="brokers told to stop (default 50)"
    )
    parser.add_argument(
        "--outages", type=float, metavar="SECONDS", help="the outages, so long each, instead of the bounces"
    )
    parser.add_argument(
        "--on-timescale",
        action="store_true",
        help="the bounces with hypertables, in a new database on the server of BPM_TEST_TIMESCALE_URL",
    )
    parser.add_argument("--seed", type=int, help="of the choice of brokers, workers and times")
    given = parser.parse_args()
    if given.hard < 0 or given.clean < 0 or (given.outages is not None and given.outages <= 0):
        parser.error("counts are at least 0, and an outage is longer than nothing")
    if given.on_timescale and (timescale.URL is None or given.outages is not None):
        parser.error("--on-timescale needs BPM_TEST_TIMESCALE_URL, and outages end the database's server")
    return given


@contextmanager
def kept_when_it_fails() -> Iterator[Path]:
    """A folder for all processes, with their logs; removed unless something raises."""
    folder = Path(tempfile.mkdtemp(prefix="bpm-campaign-"))
    folder.chmod(0o755)
    try:
        yield folder
    except BaseException:
        console.print(f"the logs are in {folder}")
        raise
    shutil.rmtree(folder)


@contextmanager
def loaded(made: Spread) -> Iterator[SteadyLoad]:
    """The load, as long as it lasts; compared with what is stored at the end."""
    load = SteadyLoad(made.engine.port, made.engine.token(TENANT), "steady", threads=PACKS)
    try:
        yield load
    finally:
        load.stop()
    if wrong := check(made, load):
        raise EngineStuckError("\n".join(wrong[:20]))


@contextmanager
def database(*, on_timescale: bool) -> Iterator[Connections | None]:
    """A new database with TimescaleDB, where that is asked for; dropped at the end."""
    if not on_timescale:
        yield None
        return
    with timescale.connections(timescale.MADE) as connections:
        made = empty_database(connections)
        yield Connections(made.admin, made.service)


def bounces(hard: int, clean: int, seed: int, outside: Connections | None) -> Counter[str]:
    """Bounce brokers while readings flow; what was done and stored."""
    chance = random.Random(seed)
    kinds = [True] * hard + [False] * clean
    chance.shuffle(kinds)
    done: Counter[str] = Counter()
    longest_s = 0.0
    with kept_when_it_fails() as folder:
        with (
            spread(folder / "spread", brokers=BROKERS, outside=outside) as made,
            loaded(made) as load,
        ):
            made.wait_progress()
            for number, is_hard in enumerate(kinds, 1):
                bounce(made, hard=is_hard, chance=chance)
                began_s = time.monotonic()
                made.wait_progress()
                longest_s = max(longest_s, time.monotonic() - began_s)
                done["brokers killed" if is_hard else "brokers told to stop"] += 1
                if number % WORKER_EVERY == 0:
                    killed = chance.random() < 0.5
                    replace_worker(made, chance.choice(["one", "two"]), hard=killed)
                    done["workers killed" if killed else "workers told to stop"] += 1
                if number % 10 == 0 or number == len(kinds):
                    console.print(f"{number} of {len(kinds)}; {load.acknowledged_batches():,} batches")
        done["readings acknowledged, all stored once and in order"] = len(load.acknowledged())
        done["longest wait for all partitions after a broker was back, s"] = round(longest_s)
    return done


def outages(seconds: float) -> Counter[str]:
    """Each outage while readings flow; how many batches were acknowledged during it, and afterwards all stored."""
    done: Counter[str] = Counter()
    with kept_when_it_fails() as folder:
        with spread(folder / "spread") as made, loaded(made) as load:
            made.wait_progress()

            def pass_through(what: str, outage: Callable[[], None]) -> None:
                outage()
                made.wait_progress()
                console.print(f"{what}: over, and readings flow again")

            def kafka() -> None:
                with kafka_away(made):
                    done["batches acknowledged while Kafka was away"] = acknowledged_while(load, seconds)

            def postgres() -> None:
                with postgres_hanging(made):
                    done["batches acknowledged while the database hung"] = acknowledged_while(load, seconds)

            def killed() -> None:
                made.engine.kill_postgres()
                made.engine.wait_ready()

            pass_through("Kafka away", kafka)
            pass_through("the database hanging", postgres)
            pass_through("the database killed", killed)
        done["readings acknowledged through these"] = len(load.acknowledged())
        done.update(_full_disk_of_a_broker(folder, seconds))
    return done


def _full_disk_of_a_broker(folder: Path, seconds: float) -> Counter[str]:
    done: Counter[str] = Counter()
    with (
        small_disk(DISK_MB) as disk,
        spread(folder / "full", log_dirs=[disk / "data"]) as made,
        loaded(made) as load,
    ):
        made.wait_progress()
        with full_disk(disk):
            time.sleep(1)
            done["batches acknowledged while the broker's disk was full"] = acknowledged_while(load, seconds)
        broker = made.cluster.brokers[0]
        if not broker.running:
            done["broker ended by itself on the full disk"] = 1
        else:
            broker.kill()
        broker.restart()
        made.wait_progress()
        console.print("a broker's full disk: over, and readings flow again")
    done["readings acknowledged around the full disk"] = len(load.acknowledged())
    return done


def main() -> int:
    given = arguments()
    seed = secrets.randbelow(1 << 31) if given.seed is None else given.seed
    began_s = time.monotonic()
    try:
        with database(on_timescale=given.on_timescale) as outside:
            done = (
                bounces(given.hard, given.clean, seed, outside)
                if given.outages is None
                else outages(given.outages)
            )
    except MountRefusedError as error:
        console.print(f"a small disk can't be mounted: {error}; run it as root")
        return 1
    except (EngineStuckError, BrokerStuckError, TimeoutError) as error:
        console.print(f"seed {seed}: {error}", markup=False)
        return 1
    table = Table("what", "count", title=f"Kafka, seed {seed}")
    for what, count in done.items():
        table.add_row(what, f"{count:,}")
    console.print(table)
    console.print(f"{time.monotonic() - began_s:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
