"""`bpm tenant`: tenants as customers."""

import getpass
import socket
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from api.cli import context
from api.cli.context import console, examples
from api.settings import Settings
from domain.errors import ConflictError
from domain.usage import Period

if TYPE_CHECKING:
    from storage.erasing_slices import Erased
    from storage.tenants import Changed

commands = typer.Typer(help="Tenants of this installation.", no_args_is_help=True)

_QUOTA_DIGITS_MAX = 15
_PROGRESS_S = 5.0

Name = Annotated[str, typer.Argument(help="The tenant.")]
Json = Annotated[bool, typer.Option("--json", help="what was done, as one JSON object")]


@commands.command("list", epilog=examples("bpm tenant list", "bpm tenant list --json | jq '.tenants[].name'"))
def list_(*, json_output: Json = False) -> None:
    """List the tenants with their states."""
    from storage.database import INGEST_ROLE
    from storage.tenants import every

    settings = context.read_settings()
    with context.database(settings) as access:
        found = every(access.as_role(INGEST_ROLE, settings))
    if json_output:
        context.print_json({"tenants": found})
        return
    table = Table("tenant", "state", "packs", "retention", "since", box=None, pad_edge=False)
    for one in found:
        place = "" if one["cell"] is None else f", {one['placement']} to {one['cell']}"
        table.add_row(
            one["name"], one["state"] + place, f"{one['packs']:,}", one["retention_class"], _since(one)
        )
    context.print_table(table)


def _since(one: dict[str, datetime | None]) -> str:
    if one["erased_from"] is not None:
        return f"{_day(one['deletion_asked_at'])}, to be erased from {_day(one['erased_from'])}"
    if one["suspended_at"] is not None:
        return f"{_day(one['suspended_at'])}: {one['suspended_for']}"
    return _day(one["created_at"])


def _day(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M} UTC"


@commands.command("suspend", epilog=examples("bpm tenant suspend acme --reason 'invoice 17 is unpaid'"))
def suspend(
    name: Name,
    reason: Annotated[str, typer.Option("--reason", help="Why; it stands in the audit log.")],
    *,
    json_output: Json = False,
) -> None:
    """Refuse all requests and readings of a tenant, and end its live connections. What it has is kept.

    A running engine takes it up within BPM_TENANT_CACHE_S and some seconds; readings are refused at once. Readings that
    were acknowledged before are stored.
    """
    from storage.tenants import suspend as do

    _done(name, lambda conninfo, _: do(conninfo, name, reason), json_output=json_output)


@commands.command("resume", epilog=examples("bpm tenant resume acme"))
def resume(name: Name, *, json_output: Json = False) -> None:
    """Serve a suspended tenant again."""
    from storage.tenants import resume as do

    _done(name, lambda conninfo, _: do(conninfo, name), json_output=json_output)


@commands.command("delete", epilog=examples("bpm tenant delete acme", "bpm tenant delete acme --grace 90"))
def delete(
    name: Name,
    grace_days: Annotated[
        float | None,
        typer.Option(
            "--grace",
            min=0,
            metavar="DAYS",
            help="Days until it may be erased, instead of BPM_TENANT_GRACE_DAYS.",
        ),
    ] = None,
    *,
    json_output: Json = False,
) -> None:
    """Refuse everything of a tenant, as when it is suspended, until its grace is over and it may be erased.

    Nothing is erased by this command, and `bpm tenant undelete` takes it back.
    """
    from storage.tenants import delete as do

    def deleted(conninfo: str, settings: Settings) -> "Changed":
        return do(conninfo, name, settings.tenant_grace_days if grace_days is None else grace_days)

    _done(name, deleted, json_output=json_output)


@commands.command("undelete", epilog=examples("bpm tenant undelete acme"))
def undelete(name: Name, *, json_output: Json = False) -> None:
    """Take back the deletion of a tenant that isn't erased yet: it is active or suspended, as before."""
    from storage.tenants import undelete as do

    _done(name, lambda conninfo, _: do(conninfo, name), json_output=json_output)


@commands.command(
    "erase", epilog=examples("bpm tenant erase acme", "bpm tenant erase acme --now --proof acme-erased.json")
)
def erase(
    name: Name,
    *,
    now: Annotated[
        bool, typer.Option("--now", help="Without the grace; asks for the name once more.")
    ] = False,
    confirm: Annotated[
        str | None, typer.Option(metavar="NAME", help="The name once more, where nobody can be asked.")
    ] = None,
    proof: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the proof here too.")] = None,
    json_output: Json = False,
) -> None:
    """Erase a deleted tenant whose grace is over: every row of it in every table. There is no way back.

    A record of what was erased stays, and its proof is kept in BPM_DATA_DIR, by which `bpm restore` erases the tenant
    again from older backups. The command may be run again after whatever ended it. Exit code 3 when the tenant isn't
    deleted, its grace isn't over, or the name wasn't repeated.
    """
    from api.erasing import LIST, erase_tenant, write_proof

    if now and (confirm or typer.prompt(f"Type {name} to erase it for good", err=True)) != name:
        raise ConflictError("the name was not repeated: nothing was done", field="confirm")

    settings = context.read_settings()
    with context.database(settings) as access:
        by = f"{getpass.getuser()}@{socket.gethostname()}"
        progress = _Erasing(time.monotonic)
        done = erase_tenant(access, name, by, progress, rows_max=settings.erase_rows_max, now=now)
        progress.end()
        kept = settings.data_dir / LIST / f"{done.erased_at:%Y%m%dT%H%M%S}-{name}.json"
        written = write_proof(access, done, [kept] if proof is None else [kept, proof])
    if json_output:
        context.print_json(written | {"file": str(kept)})
        return
    rows = sum(done.erased_rows.values())
    console.print(f"{name} is erased: {rows:,} rows. The proof is {kept}.", markup=False)


class _Erasing:
    """Says how many rows of a table are gone: when the next table's turn comes, and every few seconds until then."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._said_s = now_s()
        self._table = ""
        self._rows = 0

    def __call__(self, erased: "Erased") -> None:
        if erased.table != self._table:
            self.end()
            self._table, self._rows = erased.table, 0
        self._rows += erased.rows
        if self._now_s() >= self._said_s + _PROGRESS_S:
            done = "" if erased.packs_done is None else f", {erased.packs_done:,} packs are done"
            self._say(f"{done} …")

    def end(self) -> None:
        """Say it of the last table."""
        if self._rows:
            self._say("")

    def _say(self, more: str) -> None:
        self._said_s = self._now_s()
        console.print(f"{self._rows:>15,} {self._table}{more}", markup=False)


@commands.command(
    "usage", epilog=examples("bpm tenant usage acme", "bpm tenant usage acme --by month --from 2026-01-01")
)
def usage(
    name: Name,
    by: Annotated[Period, typer.Option(help="What is summed up.")] = Period.DAY,
    starts: Annotated[
        datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="First UTC day.")
    ] = None,
    ends: Annotated[
        datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="UTC day behind the last.")
    ] = None,
    *,
    json_output: Json = False,
) -> None:
    """What a tenant used, by UTC day of arrival or by month."""
    from storage.database import INGEST_ROLE
    from storage.usage import Wanted, page_of

    settings = context.read_settings()
    with context.database(settings) as access:
        conninfo = access.as_role(INGEST_ROLE, settings)
        wanted = Wanted(
            by,
            None if starts is None else starts.date(),
            None if ends is None else ends.date(),
        )
        found, _ = page_of(conninfo, name, wanted)
    if json_output:
        context.print_json({"tenant": name, "periods": found})
        return
    columns = ("readings", "batches", "received_bytes", "requests", "packs")
    table = Table(by, *columns, box=None, pad_edge=False)
    for one in found:
        table.add_row(str(one["period"]), *(f"{one[column]:,}" for column in columns))
    context.print_table(table)


Quota = typer.Option(metavar="N|none", help="A number, or none.")


@commands.command(
    "quota",
    epilog=examples(
        "bpm tenant quota acme --packs 500 --readings-per-day 50000000", "bpm tenant quota acme --packs none"
    ),
)
def quota(
    name: Name,
    packs: Annotated[str | None, Quota] = None,
    readings_per_day: Annotated[str | None, Quota] = None,
    requests_per_day: Annotated[str | None, Quota] = None,
    bytes_per_day: Annotated[str | None, Quota] = None,
    *,
    json_output: Json = False,
) -> None:
    """Set what a tenant may use at most, or show it. What isn't named stays as it is.

    Beyond, packs are refused by 409, and readings and requests by 429 until midnight UTC. Nothing that was acknowledged
    is lost. A running engine takes it up within BPM_TENANT_CACHE_S.
    """
    from storage.database import INGEST_ROLE
    from storage.tenants import set_quotas

    given = {
        field: _quota(value, option)
        for field, value, option in (
            ("packs_max", packs, "--packs"),
            ("day_readings_max", readings_per_day, "--readings-per-day"),
            ("day_requests_max", requests_per_day, "--requests-per-day"),
            ("day_received_bytes_max", bytes_per_day, "--bytes-per-day"),
        )
        if value is not None
    }
    settings = context.read_settings()
    with context.database(settings) as access:
        conninfo = access.as_role(INGEST_ROLE, settings)
        now = set_quotas(conninfo, name, lambda before: replace(before, **given))
    if json_output:
        context.print_json({"tenant": name} | asdict(now))
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(justify="right")
    for what, limit in (
        ("packs", now.packs_max),
        ("readings a day", now.day_readings_max),
        ("requests a day", now.day_requests_max),
        ("bytes of readings a day", now.day_received_bytes_max),
    ):
        table.add_row("no quota" if limit is None else f"{limit:,}", what)
    context.print_table(table)


def _quota(value: str, option: str) -> int | None:
    if value == "none":
        return None
    if not (value.isascii() and value.isdigit() and len(value) <= _QUOTA_DIGITS_MAX):
        raise typer.BadParameter(
            f"{value} is neither a number of up to {_QUOTA_DIGITS_MAX} digits nor none.", param_hint=option
        )
    return int(value)


@commands.command("retention-class", epilog=examples("bpm tenant retention-class acme law"))
def retention_class(
    name: Name,
    of_class: Annotated[
        str, typer.Argument(metavar="CLASS", help="The class; see bpm retention-class list.")
    ],
    *,
    json_output: Json = False,
) -> None:
    """Let a tenant be of another class of retention, while no readings of it are stored.

    Exit code 3 when there are: they stay in the class that it is of, and its packs can send to another tenant.
    """
    from storage.database import INGEST_ROLE
    from storage.tenants import set_retention_class

    settings = context.read_settings()
    with context.database(settings) as access:
        changed = set_retention_class(access.as_role(INGEST_ROLE, settings), name, of_class)
    if json_output:
        context.print_json({"tenant": name, "retention_class": of_class, "changed": changed})
        return
    console.print(
        f"Tenant {name} {'is' if changed else 'was already'} of the retention class {of_class}.", markup=False
    )


@commands.command("export", epilog=examples("bpm tenant export acme --to acme-2026-11"))
def export(
    name: Name,
    to: Annotated[Path, typer.Option("--to", metavar="DIRECTORY", help="A new directory.")],
    *,
    json_output: Json = False,
) -> None:
    """Write all that a tenant has into open files: records as NDJSON, readings and windows as Parquet by month.

    One snapshot of the database, which goes on meanwhile. The directory appears when the export is whole; its
    manifest.json has the rows and the SHA-256 of each file. Secrets are left out. Exit code 3 when the directory is
    there, 1 when it can't be written.
    """
    from api.version import VERSION
    from storage.database import INGEST_ROLE
    from storage.exporting import export_tenant

    def told(table: str, rows: int) -> None:
        console.print(f"{rows:>15,} {table}", markup=False)

    settings = context.read_settings()
    with context.database(settings) as access:
        conninfo = access.as_role(INGEST_ROLE, settings)
        done = export_tenant(conninfo, name, to, VERSION, told)
    if json_output:
        rows = {table: sum(one.rows for one in files) for table, files in done.tables.items()}
        context.print_json({"tenant": name, "directory": str(to.absolute()), "rows": rows})
        return
    console.print(f"{to} has all of {name}: {done.rows:,} rows.", markup=False)


def _done(name: str, do: Callable[[str, Settings], "Changed"], *, json_output: bool) -> None:
    from storage.database import INGEST_ROLE

    settings = context.read_settings()
    with context.database(settings) as access:
        now = do(access.as_role(INGEST_ROLE, settings), settings)
    told = {"tenant": name, "state": now.state, "changed": now.changed}
    if json_output:
        context.print_json(told | ({} if now.erased_from is None else {"erased_from": now.erased_from}))
        return
    until = "" if now.erased_from is None else f"; it may be erased from {_day(now.erased_from)} on"
    console.print(f"Tenant {name} {'is' if now.changed else 'was already'} {now.state}{until}.", markup=False)
