"""`bpm status`: what the engine does now, in a table that follows it.

Readiness, pace, queue and disk come from the engine itself (/readyz and /metrics), which needs no token; what is
stored comes from the database, of all tenants at once, which no credential of the API may see. What waits in a topic
is what its workers say, or the brokers where they say nothing.
"""

import math
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from api.cli import context
from api.cli.context import Exit, Kafka
from api.cli.engine_seen import Seen, look
from api.cli.sender import engine_client
from api.settings import Settings
from domain.errors import DatabaseRefusedError, KafkaRefusedError, KafkaUnreachableError
from domain.tenancy import STANDARD_RETENTION

if TYPE_CHECKING:
    import psycopg

REFRESH_S: Final = 1.0
REPORT_AGE_S_MAX: Final = 10.0
"""Workers report each second; what an older report says of messages behind isn't so any more."""
_CONNECT_S_MAX: Final = 3
_KAFKA_S_MAX: Final = 3.0
_MANY_DAYS: Final = 3_650
_BYTES_PER_UNIT: Final = 1024
_SEVERITY_STYLE: Final = {"critical": "bold red", "warning": "yellow", "info": "cyan"}


@dataclass(slots=True)
class Watch:
    """Looks at an engine and its database, again and again."""

    settings: Settings
    _connection: "psycopg.Connection[Any] | None" = None

    def look(self) -> dict[str, Any]:
        """What is shown, as --json gives it."""
        with engine_client(None, None) as client:
            seen = look(client)
        stored, trouble = self._stored()
        kafka_trouble = None if stored is None else self._add_behind(stored)
        return {
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "engine": _engine(seen),
            "disk": None if seen is None else seen.readiness["disk"],
            "database": stored,
            "database_trouble": trouble,
            "kafka_trouble": kafka_trouble,
        }

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _stored(self) -> tuple[dict[str, Any] | None, str | None]:
        """What the database says, or why it can't be asked."""
        import psycopg

        from storage.operation import overview

        try:
            if self._connection is None:
                self._connection = self._connected()
            if self._connection is None:
                return None, "the embedded database doesn't run"
            return overview(self._connection, datetime.now(UTC), self.settings.silent_after_s), None
        except DatabaseRefusedError as error:
            return None, error.detail
        except psycopg.Error as error:
            with suppress(psycopg.Error):
                self.close()
            return None, str(error).strip()

    def _add_behind(self, stored: dict[str, Any]) -> str | None:
        """Add how many messages each partition is behind, None where that isn't known; why brokers can't tell it.

        Where a report is old or missing, brokers are asked.
        """
        silent = {}
        for one in stored["partitions"]:
            report = one["report"]
            if report is not None and report["age_s"] <= REPORT_AGE_S_MAX:
                one["behind_messages"] = report["behind_messages"]
                continue
            one["behind_messages"] = None
            if report is not None:
                report["behind_messages"] = report["behind_s"] = None
            silent[one["partition_no"]] = one
        if stored["topic"] is None or not silent or not self.settings.kafka:
            return None
        from streams.topic_admin import unread

        positions = {number: one["next"] for number, one in silent.items()}
        try:
            found = unread(self.settings.kafka, stored["topic"], positions, _KAFKA_S_MAX)
        except (KafkaRefusedError, KafkaUnreachableError) as error:
            return error.detail
        for number, one in silent.items():
            one["behind_messages"] = found.get(number)
        return None

    def _connected(self) -> "psycopg.Connection[Any] | None":
        from storage.connections import connect
        from storage.database import INGEST_ROLE

        access = context.reachable_database(self.settings)
        if access is None:
            return None
        conninfo = access.as_role(INGEST_ROLE, self.settings)
        return connect(conninfo, autocommit=True, connect_timeout=_CONNECT_S_MAX)


def _engine(seen: Seen | None) -> dict[str, Any]:
    if seen is None:
        return {"running": False, "ready": False}
    return {
        "running": True,
        "ready": seen.is_ready,
        "code": seen.readiness["code"],
        "reason": seen.readiness["reason"],
        "version": seen.readiness["version"],
        "accepted": int(seen.figures.get("accepted", 0)),
        "quarantined": int(seen.figures.get("quarantined", 0)),
        "queued_readings": int(seen.figures.get("bpm_queued_readings", 0)),
        "live_connections": int(seen.figures.get("bpm_live_connections", 0)),
        "counting_fails": bool(seen.figures.get("bpm_counting_fails", 0)),
    }


def status(
    *,
    once: Annotated[bool, typer.Option("--once", help="print one table and end")] = False,
    json_output: Annotated[bool, typer.Option("--json", help="one JSON object, once")] = False,
    kafka: Kafka = None,
) -> None:
    """Show what the engine does now: pace, queue, counting, packs, alerts, deliveries, disk.

    The table is drawn again each second until Ctrl-C. With --once or --json the exit code says whether the engine
    is ready: 0, or 1 when it isn't.
    """
    watch = Watch(context.read_settings(kafka=kafka))
    try:
        if not (once or json_output):
            _follow(watch)
            return
        shown = watch.look()
    finally:
        watch.close()
    if json_output:
        context.print_json(shown)
    else:
        Console().print(table_of(shown))
    raise typer.Exit(Exit.DONE if shown["engine"]["ready"] else Exit.FAILED)


def _follow(watch: Watch) -> None:
    with suppress(KeyboardInterrupt), Live(auto_refresh=False, screen=False) as live:
        while True:
            live.update(table_of(watch.look()), refresh=True)
            time.sleep(REFRESH_S)


def table_of(shown: dict[str, Any]) -> Table:
    """What `Watch.look` found, for people."""
    table = Table(show_header=False, title=f"bpm {shown['at'][11:19]} UTC")
    engine, disk, database = shown["engine"], shown["disk"], shown["database"]
    table.add_row("engine", _readiness(engine))
    if engine["running"]:
        table.add_row(
            "accepted, quarantined", f"{engine['accepted']:,}, {engine['quarantined']:,} since it started"
        )
        table.add_row("queue", f"{engine['queued_readings']:,} readings")
        table.add_row("live connections", f"{engine['live_connections']:,}")
    if disk is not None:
        table.add_row("disk", _disk(disk))
    if database is None:
        table.add_row("database", Text(shown["database_trouble"], "yellow"))
    else:
        if shown["kafka_trouble"] is not None:
            table.add_row("Kafka", Text(shown["kafka_trouble"], "yellow"))
        _add_stored(table, database, counting_fails=engine.get("counting_fails", False))
    return table


def _worker(partition: dict[str, Any]) -> Text:
    """What a partition's worker last said, and how far it is behind now."""
    report, behind = partition["report"], partition["behind_messages"]
    told = "messages behind unknown" if behind is None else f"{behind:,} messages behind"
    if report is None:
        return Text(f"; no worker yet, {told}", "bold red")
    is_silent = report["age_s"] > REPORT_AGE_S_MAX
    said = f"; {report['worker']}, {told}"
    if not is_silent and behind:
        said += f" ({report['behind_s']:,.0f} s)"
    if report["watermark_delay_s"] is not None:
        age_s = report["watermark_delay_s"] + (report["age_s"] if is_silent else 0)
        said += f", newest reading {age_s:,.0f} s old"
    if report["dead_letters"]:
        said += f", {report['dead_letters']:,} dead letters"
    if report["trouble"] is not None:
        said += f"; not worked on: {report['trouble']}"
    if is_silent:
        said += f"; silent for {report['age_s']:,.0f} s"
    return Text(said, "bold red" if is_silent or report["trouble"] is not None else "")


def _readiness(engine: dict[str, Any]) -> Text:
    if not engine["running"]:
        return Text("not running", "bold red")
    if engine["ready"]:
        return Text(f"ready, version {engine['version']}", "green")
    return Text(f"not ready: {engine['reason']}", "bold red")


def _disk(disk: dict[str, Any]) -> Text:
    days = disk["days_until_full"]
    if days is None:
        lasts = "not filling up, as far as can be told"
    else:
        lasts = f"full in {days:,.1f} days" if days < _MANY_DAYS else "lasts for years"
    low = disk["free_bytes"] < disk["low_bytes"]
    style = "bold red" if low else "yellow" if days is not None and days < 7 else ""  # noqa: PLR2004 - a week
    return Text(f"{bytes_text(disk['free_bytes'])} free, {lasts}", style)


def bytes_text(size_bytes: float) -> str:
    """A size for people.

    >>> bytes_text(81_604_378_624)
    '76.0 GiB'
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size_bytes < _BYTES_PER_UNIT:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= _BYTES_PER_UNIT
    return f"{size_bytes:.1f} TiB"


def _add_stored(table: Table, stored: dict[str, Any], *, counting_fails: bool) -> None:
    table.add_row("readings/s", f"{stored['readings_per_s']:,.1f} in the last minute")
    behind_s = max((one["behind_s"] for one in stored["partitions"]), default=0.0)
    counting = (
        f"{math.ceil(behind_s / 60)} min behind, {stored['quarters_to_recount']:,} quarter-hours to recount"
    )
    table.add_row("counting", Text(f"fails; {counting}", "bold red") if counting_fails else counting)
    for one in stored["partitions"]:
        where = f"position {one['next']:,}, batch {one['last_batch_no']:,}, epoch {one['epoch']}"
        # Without a topic the engine's own process takes readings in.
        worker = Text() if stored["topic"] is None else _worker(one)
        table.add_row(f"partition {one['partition_no']}", Text(where) + worker)
    table.add_row(
        "packs", ", ".join(f"{count:,} {state.replace('_', ' ')}" for state, count in stored["packs"].items())
    )
    alerts = [
        Text(f"{count:,} {severity}", _SEVERITY_STYLE.get(severity, "") if count else "")
        for severity, count in stored["open_alerts"].items()
    ]
    table.add_row("open alerts", Text(", ").join(alerts))
    deliveries = stored["deliveries"]
    table.add_row("deliveries", f"{deliveries['waiting']:,} waiting, {deliveries['dead']:,} dead")
    for kept in stored["retention_classes"]:
        if kept["archived_before"] is not None:
            said = f"since {kept['archived_before']:%Y-%m-%d %H:%M} UTC, {kept['parts_dropped']:,} days before dropped"
            of_class = "" if kept["name"] == STANDARD_RETENTION else f" ({kept['name']})"
            table.add_row(f"raw readings kept{of_class}", said)
    last = stored["last_import"]
    if last is not None:
        undone = ", undone" if last["undone_at"] is not None else ""
        what = f"{last['source']} of {last['tenant']}, {last['created_at']:%Y-%m-%d %H:%M} UTC{undone}: "
        table.add_row(
            "last import", f"{what}{last['accepted']:,} accepted, {last['quarantined']:,} quarantined"
        )
