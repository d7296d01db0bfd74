"""`python -m benchmarks`: measures, prints tables, and writes the figures to a file when asked."""

import importlib
import json
import sys
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


class Subject(StrEnum):
    """What can be measured; each is a module of that name."""

    INGEST = "ingest"
    TREND = "trend"
    KERNELS = "kernels"
    IMPORTS = "imports"
    ROLLUP = "rollup"
    COUNTING = "counting"
    RESTART = "restart"
    RULES = "rules"
    PARTITIONS = "partitions"
    SOCKETS = "sockets"
    YEAR = "year"
    LIVE = "live"
    TOPIC = "topic"


def run(
    subjects: Annotated[
        list[Subject] | None,
        typer.Argument(help="What to measure; everything by default, but the year, which takes an hour."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Few rounds of little data, to see that it works.")
    ] = False,
    packs: Annotated[int, typer.Option("--packs", min=1, help="Packs of the year.")] = 100,
    days: Annotated[int, typer.Option("--days", min=1, help="Days of the year.")] = 365,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write all figures to this file too.")
    ] = None,
) -> None:
    """Measure beside peers and floors. What counts is the ratio, from one run of both."""
    from benchmarks.machine import describe_machine
    from benchmarks.report import Report, as_json, show

    console = Console(width=None if sys.stdout.isatty() else 130)
    machine = describe_machine(Path(tempfile.gettempdir()))
    console.print(
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB, "
        f"fsync {machine['fsync_ms']} ms, load {machine['load_average'][0]} at the start\n",
        highlight=False,
    )
    reports: list[Report] = []
    for subject in subjects or [one for one in Subject if one is not Subject.YEAR]:
        scale = {"packs": packs, "days": days} if subject is Subject.YEAR else {}
        for report in importlib.import_module(f"benchmarks.{subject}").measure(quick=quick, **scale):
            show(report, console)
            reports.append(report)
    if json_file is not None:
        json_file.write_text(json.dumps(as_json(machine, reports), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(run)
