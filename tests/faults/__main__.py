"""The long run: `python -m tests.faults --kills 100 --kind app` and so on."""

import argparse
import random
import secrets
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psycopg
from rich.console import Console
from rich.table import Table

from tests.faults.builds import copy_of_packages
from tests.faults.campaign import DisagreementError, Fault, Result, kept_when_it_fails, run_round
from tests.faults.engine_process import EngineStuckError

KINDS = {
    "app": (Fault.APP,),
    "postgres": (Fault.POSTGRES,),
    "failpoint": (Fault.BEFORE_COMMIT, Fault.AFTER_COMMIT),
    "counter": (Fault.IN_COUNT_BEFORE_COMMIT, Fault.IN_COUNT_AFTER_COMMIT),
}

_COMPARED = (
    ("snapshots", "stores compared"),
    ("waiting", "quarters waiting then"),
    ("answers", "answers compared"),
    ("drops", "times that the listener left and came again"),
    ("broken", "times that the listener was left"),
)

console = Console(soft_wrap=True, highlight=False)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults",
        description="Kills the engine or its PostgreSQL while four writers work, again and again, and compares "
        "what is stored with what was acknowledged, and windows with a recount after every kill. Every round is a new installation with a seed of its own; "
        "one that fails names its seed and keeps its folder. Exit codes: 0 all agreed, 1 a contradiction or an "
        "engine that did not come back, 2 usage.",
    )
    parser.add_argument(
        "--kills", type=int, default=100, metavar="N", help="faults of each kind (default 100)"
    )
    parser.add_argument(
        "--kind", action="append", choices=KINDS, help="may be repeated; all kinds, mixed, when not given"
    )
    parser.add_argument("--seed", type=int, help="of the first round; the next has the next number")
    parser.add_argument(
        "--round", type=int, default=25, metavar="N", help="faults before a comparison (default 25)"
    )
    given = parser.parse_args()
    if given.kills < 1 or given.round < 1:
        parser.error("--kills and --round are at least 1")
    return given


def planned(kinds: list[str], kills: int, seed: int) -> list[Fault]:
    """That many faults of each kind, the kinds' own variants in turn, in an order that the seed decides."""
    faults = [KINDS[kind][number % len(KINDS[kind])] for kind in kinds for number in range(kills)]
    random.Random(seed).shuffle(faults)
    return faults


def table_of(results: list[Result]) -> Table:
    done = sum((result.done for result in results), Counter[Fault]())
    recovered_s = sorted(second for result in results for second in result.recovered_s)
    table = Table("what", "count", title="Faults")
    for fault in Fault:
        if done[fault]:
            table.add_row(f"killed: {fault}", str(done[fault]))
    table.add_row("killed again while starting", str(sum(result.killed_while_starting for result in results)))
    for name in (
        "attempted",
        "acknowledged",
        "retried",
        "corrections",
        "rows",
        "quarters",
        "alerts",
        "heard",
    ):
        table.add_row(f"{name}", f"{sum(getattr(result, name) for result in results):,}")
    for name, what in _COMPARED:
        table.add_row(what, f"{sum(getattr(result, name) for result in results):,}")
    table.add_row("fewest acknowledged in a round", f"{min(result.acknowledged for result in results):,}")
    if recovered_s:
        table.add_row("back, median", f"{statistics.median(recovered_s):.1f} s")
        table.add_row("back, longest", f"{recovered_s[-1]:.1f} s")
    table.add_row("contradictions", str(sum(len(result.contradictions) for result in results)))
    return table


def run_rounds(faults: list[Fault], seed: int, size: int, packages: Path) -> list[Result]:
    """The results of all rounds, up to the first that fails."""
    results: list[Result] = []
    for number, start in enumerate(range(0, len(faults), size)):
        part, own_seed = faults[start : start + size], seed + number
        console.print(f"round {number + 1}, seed {own_seed}: {len(part)} faults")
        try:
            with kept_when_it_fails(own_seed) as folder:
                results.append(run_round(part, own_seed, folder, console.print, packages))
                results[-1].require_agreement()
        except (EngineStuckError, DisagreementError, psycopg.Error, OSError):
            console.print_exception(max_frames=4)
            break
    return results


def main() -> int:
    given = arguments()
    seed = secrets.randbelow(1_000_000) if given.seed is None else given.seed
    faults = planned(given.kind or list(KINDS), given.kills, seed)
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bpm-faults-build-") as build:
        results = run_rounds(faults, seed, given.round, copy_of_packages(Path(build)))
    if results:
        console.print(table_of(results))
    agreed = sum(sum(result.done.values()) for result in results if not result.contradictions)
    console.print(f"{agreed} of {len(faults)} faults, seed {seed}, {time.monotonic() - began_s:.0f} s")
    if agreed == len(faults):
        return 0
    kinds = "".join(f" --kind {kind}" for kind in given.kind or [])
    console.print(
        f"again: python -m tests.faults --kills {given.kills} --round {given.round} --seed {seed}{kinds}"
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
