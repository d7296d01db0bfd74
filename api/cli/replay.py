"""`bpm replay`: recorded logs and tables sent to the API, with what became of every frame and reading.

What reads and holds them is imported where it is used: it takes longer than all else of the command line.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Protocol

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from api.cli import context
from api.cli.context import Exit
from api.cli.sender import Sender, engine_client
from api.client.sending import READINGS_MAX, RECEIPT_COUNTS
from domain.errors import BpmError, DecodeError
from domain.tenancy import Role

if TYPE_CHECKING:
    from ingest.recorded import RecordedReadings

BATCH_READINGS: Final = 20_000
ANY_START: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""Stands for the start of a recording without a date while it is moved to now."""


class Speed(StrEnum):
    """How fast readings are sent."""

    FULL = "full"
    RECORDED = "recorded"


class At(StrEnum):
    """Where in time readings are moved."""

    NOW = "now"


class Source(Protocol):
    """Recorded readings, and counts of what they were made from."""

    @property
    def size_bytes(self) -> int: ...

    @property
    def position_bytes(self) -> int: ...

    def batches(self) -> Iterator["RecordedReadings"]: ...

    def counts(self) -> dict[str, int]: ...

    def dropped(self) -> dict[str, int]: ...


@dataclass(slots=True)
class Summary:
    """What a replay did; `problem` says why it ended early."""

    source: Source
    sender: Sender
    readings: int = 0
    problem: BpmError | None = None

    @property
    def exit_code(self) -> int:
        """0 when readings went in or there were none, else 1."""
        done = self.readings == 0 or self.sender.sums.went_in > 0
        return Exit.DONE if done and self.problem is None else Exit.FAILED

    def as_json(self) -> dict[str, Any]:
        """The summary for machines."""
        sums = self.sender.sums
        return {
            **self.source.counts(),
            "dropped": self.source.dropped(),
            "readings": self.readings,
            "import": self.sender.import_id,
            "batches": sums.batches,
            **{name: sums.counts[name] for name in RECEIPT_COUNTS},
            "reasons": dict(sums.reasons),
            "ignored_keys": sorted(sums.ignored_keys),
            "problem": None if self.problem is None else self.problem.detail,
        }


def replay(
    *,
    map_file: Annotated[
        Path, typer.Option("--map", exists=True, dir_okay=False, help="which signals give which measures")
    ],
    pack: Annotated[str, typer.Option(help="the pack's external id")],
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE]...", exists=True, dir_okay=False, help="recorded logs of a CAN bus"),
    ] = None,
    dbc: Annotated[
        list[Path] | None,
        typer.Option("--dbc", exists=True, dir_okay=False, help="description of the messages; may repeat"),
    ] = None,
    series: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="a CSV table instead of logs")
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="whose pack it is; needed without --token")] = None,
    start: Annotated[
        str | None, typer.Option(help="time of the first frame or row, where the file has no date (RFC 3339)")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="frames per second, where the file has no times", min=0.001, max=1e6)
    ] = None,
    at: Annotated[At | None, typer.Option(help="now: send as live readings, moved to now")] = None,
    speed: Annotated[Speed, typer.Option(help="as fast as possible, or as recorded")] = Speed.FULL,
    token: Annotated[str | None, typer.Option(envvar="BPM_TOKEN", help="access token")] = None,
    url: Annotated[str | None, typer.Option(help="the engine; this machine's when not given")] = None,
    batch: Annotated[int, typer.Option(help="readings in a request", min=1, max=READINGS_MAX)] = (
        BATCH_READINGS
    ),
    json_output: Annotated[bool, typer.Option("--json", help="the closing table for machines")] = False,
) -> None:
    """Send recorded logs or tables as the readings of a pack."""
    from ingest.recorded import in_batches

    moment = None if start is None else context.moment(start, "--start")
    if at is At.NOW and moment is None:
        moment = ANY_START
    open_source = _source_opener(files or [], dbc or [], series, map_file, moment, rate)
    names = ", ".join(path.name for path in (*(files or []), series) if path is not None)
    with _missing_options_named():
        source = open_source()
        with engine_client(url, token or _minted_token(tenant)) as client:
            summary = Summary(source, Sender(client, pack))
            parts = _timed(open_source, source, at, speed)
            batches = parts if speed is Speed.RECORDED else in_batches(parts, batch)
            with _progress(source) as advance:
                _send_all(summary, batches, None if at is At.NOW else names, advance)
        if isinstance(summary.problem, DecodeError) and summary.sender.sums.batches == 0:
            raise summary.problem  # nothing was sent, so that the files are all there is to speak of
    _report(summary, json_output=json_output)
    raise typer.Exit(summary.exit_code)


def _source_opener(
    files: list[Path],
    dbc: list[Path],
    series: Path | None,
    map_file: Path,
    start: datetime | None,
    rate_hz: float | None,
) -> Callable[[], Source]:
    """Opens the files of the command line; called twice where they are read twice."""
    if (series is None) == (not files):
        raise typer.BadParameter("Give either recorded logs or --series with a table.")
    if series is not None:
        from ingest.series import Series, load_series_map

        return lambda: Series(series, load_series_map(map_file), start)
    from ingest.can.databases import load_database
    from ingest.can.mapping import load_can_map
    from ingest.can.replay import LogReplay

    return lambda: LogReplay(
        files, load_can_map(map_file), [load_database(path) for path in dbc], start, rate_hz
    )


def _timed(
    open_source: Callable[[], Source], source: Source, at: At | None, speed: Speed
) -> Iterator["RecordedReadings"]:
    """The readings at their times: at full speed the last is moved to now, at recorded speed the first."""
    from api.cli.pacing import at_recorded_speed, first_and_last_ms, shifted

    parts = source.batches()
    if at is At.NOW:
        span = first_and_last_ms(open_source().batches())
        if span is not None:
            now_ms = time.time_ns() // 1_000_000
            parts = shifted(parts, now_ms - (span[0] if speed is Speed.RECORDED else span[1]))
    if speed is Speed.RECORDED:
        return at_recorded_speed(parts, time.monotonic, time.sleep)
    return parts


def _send_all(
    summary: Summary,
    batches: Iterable["RecordedReadings"],
    import_source: str | None,
    advance: Callable[[Summary], None],
) -> None:
    """Send every batch; a failure is kept in the summary, because batches before it are in."""
    try:
        for readings in batches:
            if import_source is not None and summary.sender.import_id is None:
                summary.sender.open_import(import_source)
            summary.readings += len(readings)
            summary.sender.send(readings)
            advance(summary)
    except BpmError as error:
        summary.problem = error


def _minted_token(tenant: str | None) -> str:
    if tenant is None:
        raise typer.BadParameter("Say whose pack it is, or give a --token.", param_hint="--tenant")
    return context.development_token(tenant, Role.IMPORTER)


@contextmanager
def _progress(source: Source) -> Iterator[Callable[[Summary], None]]:
    """A bar on standard error while readings are sent, none where nobody watches."""
    console = Console(stderr=True)
    columns = (
        BarColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[readings]} readings"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("replay", total=source.size_bytes, readings=0)
        yield lambda summary: progress.update(
            task, completed=source.position_bytes, readings=summary.readings
        )


def _report(summary: Summary, *, json_output: bool) -> None:
    content = summary.as_json()
    if json_output:
        context.print_json(content)
    else:
        Console().print(_table(content))
    if summary.problem is not None:
        context.exit_with(summary.problem)


def _table(content: dict[str, Any]) -> Table:
    table = Table(show_header=False)
    for name, value in content.items():
        if name == "problem":
            continue
        if isinstance(value, dict):
            for reason, count in value.items():
                table.add_row(f"{name}: {reason}", str(count))
        elif value is not None and value != []:
            table.add_row(name.replace("_", " "), str(value))
    return table


@contextmanager
def _missing_options_named() -> Iterator[None]:
    """A recording that needs --start or --rate is wrong usage, not a refusal."""
    try:
        yield
    except DecodeError as error:
        if error.field not in {"start", "rate"}:
            raise
        raise typer.BadParameter(error.detail, param_hint=f"--{error.field}") from error
