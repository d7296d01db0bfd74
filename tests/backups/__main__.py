"""The long run: `python -m tests.backups --times 20`."""

import argparse
import random
import secrets
import statistics
import sys
import time

import psycopg
from rich.console import Console
from rich.table import Table

from tests.backups.rounds import BackupWrongError, Result, Source, back_up_and_restore
from tests.faults.campaign import kept_when_it_fails
from tests.faults.engine_process import EngineStuckError

console = Console(soft_wrap=True, highlight=False)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.backups",
        description="Backs an engine up while readings come in, again and again, and restores each backup elsewhere. "
        "In each round a backup and a restore are killed before: what they leave must be taken for nothing, and the "
        "source must be unharmed. What is restored must be all that was acknowledged before, and what the source held "
        "up to the same batch. Exit codes: 0 all of it held, 1 it didn't, 2 usage.",
    )
    parser.add_argument("--times", type=int, default=20, metavar="N", help="rounds (default 20)")
    parser.add_argument("--seed", type=int, help="of the kills")
    given = parser.parse_args()
    if given.times < 1:
        parser.error("--times is at least 1")
    return given


def table_of(result: Result) -> Table:
    table = Table("what", "count", title="Backups")
    for what, count in sorted(result.done.items()):
        table.add_row(what, str(count))
    table.add_row("readings acknowledged before a backup", f"{result.acknowledged:,}")
    table.add_row("readings restored", f"{result.restored:,}")
    for name, seconds in (("backup", result.backup_s), ("restore", result.restore_s)):
        if seconds:
            table.add_row(
                f"{name}, median and longest", f"{statistics.median(seconds):.1f} s, {max(seconds):.1f} s"
            )
    return table


def main() -> int:
    given = arguments()
    seed = secrets.randbelow(1_000_000) if given.seed is None else given.seed
    chance, result, began_s = random.Random(seed), Result(), time.monotonic()
    try:
        with kept_when_it_fails(seed) as folder:
            source = Source(folder)
            try:
                for number in range(given.times):
                    back_up_and_restore(source, number, result, chance)
                    console.print(f"{number + 1} of {given.times}")
            finally:
                source.clear()
    except (BackupWrongError, EngineStuckError, psycopg.Error, OSError):
        console.print_exception(max_frames=4)
    console.print(table_of(result))
    console.print(f"seed {seed}, {time.monotonic() - began_s:.0f} s")
    return int(result.done["restores"] != given.times)


if __name__ == "__main__":
    sys.exit(main())
