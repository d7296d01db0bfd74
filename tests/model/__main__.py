"""The long run: `python -m tests.model --steps 100000 --seed 7`."""

import argparse
import logging
import secrets
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from storage.embedded_postgres import Connections, EmbeddedConfig, EmbeddedPostgres
from tests.databases import new_database
from tests.model.driver import Contradiction
from tests.model.play import run

console = Console(soft_wrap=True, highlight=False)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.model",
        description="Lets the engine and a naive model of it take the same random steps, and compares them after "
        "each. Every round is a new installation with a seed of its own; one that fails names its seed and its "
        "last steps. Exit codes: 0 all agreed, 1 a contradiction, 2 usage.",
    )
    parser.add_argument("--steps", type=int, default=100_000, metavar="N", help="in all (default 100000)")
    parser.add_argument("--seed", type=int, help="of the first round; the next has the next number")
    parser.add_argument(
        "--round", type=int, default=10_000, metavar="N", help="steps of one installation (default 10000)"
    )
    given = parser.parse_args()
    if given.steps < 1 or given.round < 1:
        parser.error("--steps and --round are at least 1")
    return given


@contextmanager
def server() -> Iterator[Connections]:
    """A real PostgreSQL that doesn't wait for the disk: nothing kills it."""
    with tempfile.TemporaryDirectory(prefix="bpm-model-") as folder:
        Path(folder).chmod(0o755)
        supervisor = EmbeddedPostgres(
            EmbeddedConfig(Path(folder) / "postgres", shared_buffers_mb=256, durable=False), lambda _: None
        )
        try:
            yield supervisor.start()
        finally:
            supervisor.stop()


def main() -> int:
    given = arguments()
    seed = secrets.randbelow(1_000_000_000) if given.seed is None else given.seed
    logging.disable(logging.CRITICAL)  # The engine tells of every fault that is made on purpose.
    began_s = time.monotonic()
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )
    with server() as connections, bar:
        task = bar.add_task("steps", total=given.steps)
        for start in range(0, given.steps, given.round):
            own_seed, steps = seed + start // given.round, min(given.round, given.steps - start)
            bar.update(task, description=f"seed {own_seed}")

            def told(done: int, start: int = start) -> None:
                bar.update(task, completed=start + done)

            try:
                run(new_database(connections), own_seed, steps, told)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told with the steps before it
                bar.stop()
                frames = None if isinstance(error, Contradiction) else -6
                console.print("".join(traceback.format_exception(error, limit=frames)), markup=False)
                console.print(f"again: python -m tests.model --steps {given.round} --seed {own_seed}")
                return 1
    console.print(f"{given.steps} steps agreed, seed {seed}, {time.monotonic() - began_s:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
