"""`bpm security-events`: what was refused to those who have not shown whose they are."""

from typing import Annotated

import typer
from rich.table import Table

from api.cli import context
from domain.security import SecurityKind

_EVENTS_MAX = 10_000


def security_events(
    last: Annotated[int, typer.Option(min=1, max=_EVENTS_MAX, help="So many events.")] = 50,
    kind: Annotated[SecurityKind | None, typer.Option(help="Only events of this kind.")] = None,
    since: Annotated[
        str | None, typer.Option(help="RFC 3339 time; only events from then on.", metavar="TIME")
    ] = None,
    *,
    json_output: Annotated[bool, typer.Option("--json", help="the events, as one JSON object")] = False,
) -> None:
    """Show what was refused to strangers: who has shown no credential of a tenant, the newest first.

    What happened alike within a second is one event. A tenant's own are at GET /v1/security-events.
    """
    from storage.database import INGEST_ROLE
    from storage.security import Wanted, events_of_platform

    wanted = Wanted(
        starts=None if since is None else context.moment(since, "--since"),
        kind=None if kind is None else str(kind),
    )
    settings = context.read_settings()
    with context.database(settings) as access:
        found = events_of_platform(access.as_role(INGEST_ROLE, settings), wanted, last)
    if json_output:
        context.print_json({"events": found})
        return
    table = Table("at", "kind", "from", "route", "times", box=None, pad_edge=False)
    for one in found:
        at = f"{one['at']:%Y-%m-%d %H:%M:%S}"
        table.add_row(at, one["kind"], one["address_prefix"] or "", one["route"] or "", f"{one['times']:,}")
    context.print_table(table)
