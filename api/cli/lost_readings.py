"""`bpm lost-readings`: what the topic of readings has dropped before it was committed, and partitions that go on."""

import re
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.table import Table

from api.cli import context
from api.cli.context import Kafka, console, examples

if TYPE_CHECKING:
    from api.database_access import DatabaseAccess
    from api.settings import Settings
    from domain.log_ends import Lost

commands = typer.Typer()

_NAMED: Final = re.compile(r"(\d+):\d+-\d*", re.ASCII)

Json = Annotated[bool, typer.Option("--json", help="One JSON object.")]


@commands.callback(
    invoke_without_command=True,
    epilog=examples("bpm lost-readings", "bpm lost-readings --json", "bpm lost-readings accept 3:1207-1311"),
)
def list_(ctx: typer.Context, *, json_output: Json = False, kafka: Kafka = None) -> None:
    """List partitions of readings that aren't worked on, since the topic doesn't have their position.

    It changes nothing.

    Of each: the positions that are lost, how many messages these were at most, and where it would go on.
    """
    if ctx.invoked_subcommand is not None:
        if json_output or kafka:
            raise typer.BadParameter(f"Give options behind {ctx.invoked_subcommand}.")
        return
    settings = context.read_settings(kafka=kafka)
    with context.database(settings) as access:
        _, found = _lost(settings, access)
    if json_output:
        context.print_json({"lost": [_told(*one) for one in found.items()]})
        return
    if not found:
        console.print("Nothing is lost.")
        return
    table = Table("partition", "lost", "messages at most", "goes on at", box=None, pad_edge=False)
    for number, one in found.items():
        count = "unknown" if one.messages_max is None else f"{one.messages_max:,}"
        table.add_row(str(number), _named(number, one), count, str(one.goes_on_at))
    context.print_table(table)
    names = " ".join(_named(*one) for one in found.items())
    console.print(
        f"They can't be read any more. To go on without them: bpm lost-readings accept {names}", markup=False
    )


@commands.command("accept", epilog=examples("bpm lost-readings accept 3:1207-1311"))
def accept(
    lost: Annotated[
        list[str],
        typer.Argument(
            metavar="PARTITION:FROM-TO...", help="What is lost, as `bpm lost-readings` lists it now."
        ),
    ],
    *,
    json_output: Json = False,
    kafka: Kafka = None,
) -> None:
    """Accept that readings are lost: their partitions go on behind them, and the installation's log says so.

    Readings that were acknowledged are given up by this. What is named must be what is lost now; otherwise nothing is
    changed, and the exit code is 3. Running workers take the partitions up again by themselves.
    """
    asked = [(_partition_of(name), name) for name in lost]
    from storage.database import INGEST_ROLE
    from storage.layout import accept_lost

    settings = context.read_settings(kafka=kafka)
    with context.database(settings) as access:
        topic, found = _lost(settings, access)
        _require_same(asked, found)
        accepted = {number: found[number] for number, _ in asked}
        accept_lost(access.as_role(INGEST_ROLE, settings), topic, accepted)
    if json_output:
        context.print_json({"accepted": [_told(*one) for one in accepted.items()]})
        return
    for number, one in accepted.items():
        console.print(f"Accepted: {_named(number, one)}; partition {number} goes on at {one.goes_on_at}.")


def _lost(settings: "Settings", access: "DatabaseAccess") -> "tuple[str, dict[int, Lost]]":
    """The topic, as name/id, and what it has lost of each partition that stands still."""
    from api.topic import bootstrap_of, log_of
    from storage.layout import layout, positions
    from streams.topic_admin import ends_of, require_log

    brokers, now = bootstrap_of(settings), layout(access.admin)
    topic = log_of(now, settings)
    require_log(brokers, topic)
    before = positions(access.admin)
    ends = ends_of(brokers, topic.partition("/")[0], now.partitions)
    # One that has moved meanwhile is worked on.
    still = positions(access.admin).items() & before.items()
    found = {number: ends[number].lost(position) for number, position in sorted(still) if number in ends}
    return topic, {number: one for number, one in found.items() if one is not None}


def _require_same(asked: list[tuple[int, str]], found: "dict[int, Lost]") -> None:
    """Raises ConflictError that names what is lost now where it isn't what was asked for."""
    from domain.errors import ConflictError

    for number, name in asked:
        if number not in found:
            raise ConflictError(f"{name}: of partition {number} nothing is lost; nothing was changed")
        if name != (now := _named(number, found[number])):
            raise ConflictError(f"{name}: of partition {number} {now} is lost now; nothing was changed")


def _partition_of(name: str) -> int:
    matched = _NAMED.fullmatch(name)
    if matched is None:
        raise typer.BadParameter(f"{name} is no PARTITION:FROM-TO, such as 3:1207-1311.", param_hint="lost")
    return int(matched[1])


def _named(number: int, one: "Lost") -> str:
    return f"{number}:{one.named}"


def _told(number: int, one: "Lost") -> dict[str, Any]:
    return {
        "name": _named(number, one),
        "partition": number,
        "first_lost": one.first,
        "last_lost": one.last,
        "messages_max": one.messages_max,
        "goes_on_at": one.goes_on_at,
        "why": one.why,
    }
