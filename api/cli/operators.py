"""`bpm operator`: who runs the installation, and what was done by whom."""

import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from api.cli import context
from api.cli.context import console, examples

if TYPE_CHECKING:
    pass

commands = typer.Typer(
    help="Operators, who run the installation and belong to no tenant.", no_args_is_help=True
)

Login = Annotated[str, typer.Argument(help="Login name or e-mail address.")]
Json = Annotated[bool, typer.Option("--json", help="what was done, as one JSON object")]

_SECRET_BYTES = 32
_ENTRIES_MAX = 10_000


@commands.command(
    "invite",
    epilog=examples("bpm operator invite ann@example.com", "bpm operator invite ann@example.com --again"),
)
def invite(
    login: Login,
    *,
    again: Annotated[
        bool,
        typer.Option(
            "--again", help="The invitation was lost or the password forgotten; the operator is there."
        ),
    ] = False,
    json_output: Json = False,
) -> None:
    """Invite an operator, and print the invitation, alone on standard output: hand it over, it is good once."""
    from storage import operators
    from storage.sessions import OPERATORS, digest
    from storage.users import Invitation

    secret = OPERATORS.prefix + secrets.token_urlsafe(_SECRET_BYTES)
    settings = context.read_settings()
    expires_at = datetime.now(UTC) + timedelta(hours=settings.invitation_hours)
    given = Invitation(digest(secret), expires_at)

    def work(conninfo: str, known_as: str) -> dict[str, Any]:
        do: Callable[[str, str, Invitation], dict[str, Any]]
        do = operators.invite_again if again else operators.invite
        return do(conninfo, known_as, given)

    row = _do(login, work)
    if json_output:
        context.print_json(_told(row) | {"invitation": secret})
        return
    print(secret)  # noqa: T201 - the result
    console.print(
        f"{row['login']} accepts it by POST /v1/auth/invitation, with a password, until"
        f" {expires_at:%Y-%m-%d %H:%M} UTC.",
        markup=False,
    )


@commands.command("list", epilog=examples("bpm operator list", "bpm operator list --json"))
def list_(*, json_output: Json = False) -> None:
    """List the operators with their states."""
    from storage import operators
    from storage.database import INGEST_ROLE

    settings = context.read_settings()
    with context.database(settings) as access:
        found = operators.every(access.as_role(INGEST_ROLE, settings))
    if json_output:
        context.print_json({"operators": [_told(row) for row in found]})
        return
    table = Table("login", "state", "subject", box=None, pad_edge=False)
    for row in found:
        table.add_row(row["login"], row["state"], _told(row)["subject"])
    context.print_table(table)


@commands.command("suspend", epilog=examples("bpm operator suspend ann@example.com"))
def suspend(login: Login, *, json_output: Json = False) -> None:
    """Suspend an operator: it can't sign in, and its tokens and live connections end within seconds."""
    from storage import operators

    _say(_do(login, operators.suspend), json_output=json_output)


@commands.command("resume", epilog=examples("bpm operator resume ann@example.com"))
def resume(login: Login, *, json_output: Json = False) -> None:
    """Let a suspended operator sign in again."""
    from storage import operators

    _say(_do(login, operators.resume), json_output=json_output)


@commands.command("delete", epilog=examples("bpm operator delete ann@example.com"))
def delete(login: Login, *, json_output: Json = False) -> None:
    """Delete an operator: its tokens end, and only its id is left, in the logs."""
    from storage import operators

    row = _do(login, operators.delete) | {"state": "deleted"}
    _say(row, json_output=json_output)


@commands.command("log", epilog=examples("bpm operator log", "bpm operator log --last 500 --json"))
def log(
    last: Annotated[int, typer.Option(min=1, max=_ENTRIES_MAX, help="So many entries.")] = 50,
    *,
    json_output: Json = False,
) -> None:
    """What was done to tenants and operators, by commands and by operators, the newest first."""
    from storage.database import INGEST_ROLE
    from storage.platform_log import Wanted, page

    settings = context.read_settings()
    with context.database(settings) as access:
        entries, _ = page(access.as_role(INGEST_ROLE, settings), Wanted(), None, last)
    if json_output:
        context.print_json({"entries": entries})
        return
    table = Table("at", "who", "what", "of", box=None, pad_edge=False)
    for one in entries:
        table.add_row(f"{one['at']:%Y-%m-%d %H:%M:%S}", one["subject"], one["action"], one["resource_id"])
    context.print_table(table)


def _do(login: str, work: Callable[[str, str], dict[str, Any]]) -> dict[str, Any]:
    from domain.users import login_of
    from storage.database import INGEST_ROLE

    settings, known_as = context.read_settings(), login_of(login)
    with context.database(settings) as access:
        return work(access.as_role(INGEST_ROLE, settings), known_as)


def _told(row: dict[str, Any]) -> dict[str, Any]:
    from domain.operators import subject_of

    return {name: row[name] for name in ("id", "login", "state")} | {"subject": subject_of(row["id"])}


def _say(row: dict[str, Any], *, json_output: bool) -> None:
    if json_output:
        context.print_json(_told(row))
        return
    console.print(f"{row['login']} is {row['state']}.", markup=False)
