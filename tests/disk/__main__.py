"""The long run: `python -m tests.disk --times 20`, as root, which may mount a small disk."""

import argparse
import statistics
import sys
import time
from collections import Counter

import psycopg
from rich.console import Console
from rich.table import Table

from tests.disk.rounds import (
    DISK_MB,
    LOW_MB,
    DiskWrongError,
    Fill,
    MountRefusedError,
    Result,
    SmallInstallation,
    small_disk,
)
from tests.faults.engine_process import EngineStuckError

console = Console(soft_wrap=True, highlight=False)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.disk",
        description=f"Fills a disk of {DISK_MB} MB while readings come in, again and again: below the low mark of "
        f"{LOW_MB} MB, to the last byte, and to the last byte with the mark off. Each time, when there is room again, "
        "readings must go in again by themselves, and all that was acknowledged must be stored once. "
        "Exit codes: 0 all of it held, 1 it didn't, 2 usage.",
    )
    parser.add_argument("--times", type=int, default=20, metavar="N", help="fills of each kind (default 20)")
    given = parser.parse_args()
    if given.times < 1:
        parser.error("--times is at least 1")
    return given


def fill_often(fills: list[Fill], times: int, result: Result) -> None:
    """So many fills of these kinds in turn, on one installation, whose mark they share."""
    with small_disk() as folder:
        installation = SmallInstallation(folder, fills[0].low_mb)
        try:
            for number in range(times):
                for place, fill in enumerate(fills):
                    installation.fill_once(fill, number * len(fills) + place, result)
                console.print(f"{number + 1} of {times}: {', '.join(fills)}")
        finally:
            installation.clear()


def table_of(results: list[Result]) -> Table:
    table = Table("what", "count", title="Full disks")
    done = sum((result.done for result in results), Counter[Fill]())
    for fill in Fill:
        table.add_row(f"filled {fill}", str(done[fill]))
    answers = sum((result.answers for result in results), Counter[int]())
    for status, count in sorted(answers.items()):
        table.add_row(f"requests answered {status or 'not at all'}", f"{count:,}")
    table.add_row("readings acknowledged", f"{sum(result.acknowledged for result in results):,}")
    table.add_row("PostgreSQL started again", str(sum(result.server_restarts for result in results)))
    for name, seconds in (
        ("refused after", [one for result in results for one in result.refused_s]),
        ("accepted again after", [one for result in results for one in result.resumed_s]),
    ):
        if seconds:
            table.add_row(
                f"{name}, median and longest", f"{statistics.median(seconds):.1f} s, {max(seconds):.1f} s"
            )
    return table


def main() -> int:
    given = arguments()
    began_s = time.monotonic()
    results = [Result(), Result()]
    failed = False
    try:
        fill_often([Fill.BELOW_MARK, Fill.LAST_BYTE], given.times, results[0])
        fill_often([Fill.NO_MARK], given.times, results[1])
    except MountRefusedError as error:
        console.print(f"a small disk can't be mounted: {error}; run it as root")
        return 1
    except (DiskWrongError, EngineStuckError, psycopg.Error, OSError):
        console.print_exception(max_frames=4)
        failed = True
    console.print(table_of(results))
    console.print(f"{time.monotonic() - began_s:.0f} s")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
