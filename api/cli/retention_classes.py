"""`bpm retention-class`: for how long readings of which tenants are kept."""

import math
from collections.abc import Callable
from typing import Annotated, Any, Final

import typer
from rich.table import Table

from api.cli import context
from api.cli.context import console, examples
from api.settings import Settings
from domain.tenancy import RETENTION_CLASS_NAME, STANDARD_RETENTION

commands = typer.Typer(
    help="Classes of retention: for how long readings of which tenants are kept.", no_args_is_help=True
)

_DAYS_MAX: Final = 36_500
_SECONDS_OF_DAY: Final = 86_400

Name = Annotated[str, typer.Argument(help="The class.")]
Days = Annotated[
    int | None,
    typer.Option(
        "--days",
        min=7,
        max=_DAYS_MAX,
        help="Days for which readings are kept at least, BPM_LATE_S_MAX or more.",
    ),
]
ForGood = Annotated[bool, typer.Option("--for-good", help="Readings are never dropped.")]
Json = Annotated[bool, typer.Option("--json", help="what was done, as one JSON object")]


@commands.command(
    "create",
    epilog=examples(
        "bpm retention-class create law --days 3650", "bpm retention-class create kept --for-good"
    ),
)
def create(
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits, - and _; up to 63.")],
    days: Days = None,
    *,
    for_good: ForGood = False,
    json_output: Json = False,
) -> None:
    """Make a class, of which tenants can be from now on: `bpm tenant create --retention-class`.

    Its readings lie in a table of their own. Acts on the database as `bpm migrate` does, while the engine runs.
    """
    from storage.retention_classes import create as do

    if RETENTION_CLASS_NAME.fullmatch(name) is None:
        raise typer.BadParameter(
            "A class's name has lower-case letters, digits, - and _, up to 63, and begins with a letter or digit.",
            param_hint="name",
        )
    _with_days(name, days, for_good, do, "created", json_output=json_output)


@commands.command("set", epilog=examples("bpm retention-class set law --days 4000"))
def set_(name: Name, days: Days = None, *, for_good: ForGood = False, json_output: Json = False) -> None:
    """Keep the readings of a class for other days. A running engine takes it up at its next look.

    Days that are archived stay so, and are dropped, however long readings are kept from now on. For how long the class
    `standard` keeps readings is said by BPM_READINGS_KEEP_DAYS instead.
    """
    from storage.retention_classes import set_days

    _with_days(name, days, for_good, set_days, "changed", json_output=json_output)


@commands.command("delete", epilog=examples("bpm retention-class delete law"))
def delete(name: Name, *, json_output: Json = False) -> None:
    """Delete a class that no tenant is of. Exit code 3 while there is one, and for `standard`."""
    from storage.retention_classes import delete as do

    with context.database(context.read_settings()) as access:
        do(access.admin, name)
    _said(
        {"retention_class": name, "deleted": True},
        f"Retention class {name} is deleted.",
        json_output=json_output,
    )


@commands.command("list", epilog=examples("bpm retention-class list", "bpm retention-class list --json"))
def list_(*, json_output: Json = False) -> None:
    """List the classes, with their tenants, and from when on their readings are kept."""
    from storage.database import INGEST_ROLE
    from storage.retention_classes import every

    settings = context.read_settings()
    with context.database(settings) as access:
        found = [_told(row, settings) for row in every(access.as_role(INGEST_ROLE, settings))]
    if json_output:
        context.print_json({"retention_classes": found})
        return
    table = Table("class", "days", "tenants", "readings since", box=None, pad_edge=False)
    for one in found:
        since = one["archived_before"]
        table.add_row(
            one["name"],
            "for good" if one["keep_days"] is None else f"{one['keep_days']:,}",
            f"{one['tenants']:,}",
            "the first" if since is None else f"{since:%Y-%m-%d} UTC",
        )
    context.print_table(table)


def _told(row: dict[str, Any], settings: Settings) -> dict[str, Any]:
    days = settings.readings_keep_days if row["name"] == STANDARD_RETENTION else row["keep_days"]
    return row | {"keep_days": days}


def _with_days(
    name: str,
    days: int | None,
    for_good: bool,
    do: Callable[[str, str, int | None], None],
    done: str,
    *,
    json_output: bool,
) -> None:
    if (days is None) is not for_good:
        raise typer.BadParameter("Say --days, or --for-good.", param_hint="--days")
    settings = context.read_settings()
    late_days = math.ceil(settings.late_s_max / _SECONDS_OF_DAY)
    if days is not None and days < late_days:
        raise typer.BadParameter(
            f"{days} is less than the {late_days} days of BPM_LATE_S_MAX, by which readings may be late.",
            param_hint="--days",
        )
    with context.database(settings) as access:
        do(access.admin, name, days)
    kept = "for good" if days is None else f"for {days:,} days"
    _said(
        {"retention_class": name, "keep_days": days, done: True},
        f"Retention class {name} is {done}: readings are kept {kept}.",
        json_output=json_output,
    )


def _said(told: dict[str, Any], words: str, *, json_output: bool) -> None:
    if json_output:
        context.print_json(told)
    else:
        console.print(words, markup=False)
