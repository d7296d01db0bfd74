"""`bpm user` and `bpm key`: people of a tenant, and the keys that sign their tokens."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.table import Table

from api.cli import context
from api.cli.context import console, examples
from api.settings import Settings
from domain.tenancy import Role

if TYPE_CHECKING:
    from storage.transactions import Transaction

user_commands = typer.Typer(help="Users of a tenant.", no_args_is_help=True)
key_commands = typer.Typer(help="The keys that sign access tokens.", no_args_is_help=True)

Tenant = Annotated[str, typer.Option(help="The tenant's name.")]
Login = Annotated[str, typer.Argument(help="Login name or e-mail address.")]
Json = Annotated[bool, typer.Option("--json", help="what was done, as one JSON object")]

Found = TypeVar("Found")

_SECRET_BYTES = 32
_USERS_AT_ONCE = 1000


@user_commands.command(
    "invite",
    epilog=examples(
        "bpm user invite ann@example.com --tenant demo --role tenant_admin",
        "bpm user invite bob --tenant demo --role operator --site Bern",
        "bpm user invite ann@example.com --tenant demo --again",
    ),
)
def invite(
    login: Login,
    tenant: Tenant,
    role: Annotated[list[Role] | None, typer.Option(help="What the user is for; may be repeated.")] = None,
    site: Annotated[list[str] | None, typer.Option(help="Limit the user to a site; may be repeated.")] = None,
    again: Annotated[
        bool,
        typer.Option("--again", help="The invitation was lost or the password forgotten; the user is there."),
    ] = False,
    json_output: Json = False,
) -> None:
    """Invite a user, and print the invitation, alone on standard output: hand it over, it is good once."""
    from domain.users import login_of
    from storage import users
    from storage.sessions import digest

    if again is bool(role):
        raise typer.BadParameter("Say --role, or --again for a user who is there.", param_hint="--role")
    settings, known_as = context.read_settings(), login_of(login)
    secret, now = secrets.token_urlsafe(_SECRET_BYTES), datetime.now(UTC)
    invitation = users.Invitation(digest(secret), now + timedelta(hours=settings.invitation_hours))

    async def work(transaction: "Transaction") -> dict[str, Any]:
        if again:
            found = await users.by_login(transaction, known_as)
            return await users.invite_again(transaction, found["id"], invitation)
        roles = [str(one) for one in role or ()]
        return await users.invite(
            transaction, known_as, roles, site or None, invitation, now, settings.users_max
        )

    row = _in_tenant(settings, tenant, work)
    if json_output:
        context.print_json(_told(row) | {"invitation": secret})
        return
    print(secret)  # noqa: T201 - the result
    console.print(
        f"{row['login']} accepts it on the page, with a password, until"
        f" {row['invitation_expires_at']:%Y-%m-%d %H:%M} UTC.",
        markup=False,
    )


@user_commands.command(
    "list", epilog=examples("bpm user list --tenant demo", "bpm user list --tenant demo --json")
)
def list_(tenant: Tenant, *, json_output: Json = False) -> None:
    """List the users of a tenant with their states, deleted ones too until they are purged."""
    from storage import users

    async def work(transaction: "Transaction") -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        after: str | None = None
        while True:
            page, after = await users.page(transaction, after, _USERS_AT_ONCE)
            rows += page
            if after is None:
                return rows

    found = _in_tenant(context.read_settings(), tenant, work)
    if json_output:
        context.print_json({"users": [_told(row) for row in found]})
        return
    table = Table("login", "state", "roles", "sites", box=None, pad_edge=False)
    for row in found:
        sites = "all" if row["sites"] is None else ", ".join(row["sites"])
        table.add_row(row["login"], row["state"], ", ".join(row["roles"]), sites)
    context.print_table(table)


@user_commands.command("suspend", epilog=examples("bpm user suspend ann@example.com --tenant demo"))
def suspend(login: Login, tenant: Tenant, *, json_output: Json = False) -> None:
    """Suspend a user: it can't sign in, and its tokens and live connections end within seconds."""
    from storage import users

    async def work(transaction: "Transaction") -> dict[str, Any]:
        return await users.suspend(transaction, await _id_of(transaction, login))

    _say(_in_tenant(context.read_settings(), tenant, work), json_output=json_output)


@user_commands.command("resume", epilog=examples("bpm user resume ann@example.com --tenant demo"))
def resume(login: Login, tenant: Tenant, *, json_output: Json = False) -> None:
    """Let a suspended user sign in again, or bring back a deleted one that isn't purged yet."""
    from storage import users

    async def work(transaction: "Transaction") -> dict[str, Any]:
        return await users.resume(transaction, await _id_of(transaction, login))

    _say(_in_tenant(context.read_settings(), tenant, work), json_output=json_output)


@user_commands.command("delete", epilog=examples("bpm user delete ann@example.com --tenant demo"))
def delete(login: Login, tenant: Tenant, *, json_output: Json = False) -> None:
    """Delete a user: as when it is suspended; after BPM_USER_PURGE_DAYS only its id is left, in the audit log."""
    from storage import users

    settings = context.read_settings()
    purge_at = datetime.now(UTC) + timedelta(days=settings.user_purge_days)

    async def work(transaction: "Transaction") -> dict[str, Any]:
        return await users.delete(transaction, await _id_of(transaction, login), purge_at)

    _say(_in_tenant(settings, tenant, work), json_output=json_output)


async def _id_of(transaction: "Transaction", login: str) -> Any:
    from domain.users import login_of
    from storage import users

    return (await users.by_login(transaction, login_of(login)))["id"]


def _in_tenant(settings: Settings, name: str, work: Callable[["Transaction"], Awaitable[Found]]) -> Found:
    """What is done in one transaction of the installation, for a tenant. Raises NotFoundError, and what it raises."""
    from api.database_access import DatabaseAccess, open_pools
    from domain.errors import NotFoundError
    from domain.tenancy import Actor
    from storage.registry import Registry
    from storage.transactions import Transactions

    async def run(access: DatabaseAccess) -> Found:
        requests, directory = open_pools(settings, access)
        async with requests, directory:
            tenant = await Registry(directory).tenant(name)
            if tenant is None:
                raise NotFoundError(f"there is no tenant {name}", field="tenant")
            tenant.place.require_settled(name, settings.retry_after_s)
            actor = Actor("installation", tenant.tenant_id, name, frozenset())
            async with Transactions(requests).begin(actor, "") as transaction:
                return await work(transaction)

    with context.database(settings) as access:
        return asyncio.run(run(access))


def _told(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("id", "login", "state", "roles", "sites", "purge_at")}


def _say(row: dict[str, Any], *, json_output: bool) -> None:
    if json_output:
        context.print_json(_told(row))
        return
    until = "" if row["purge_at"] is None else f" until {row['purge_at']:%Y-%m-%d %H:%M} UTC, then purged"
    console.print(f"{row['login']} is {row['state']}{until}.", markup=False)


@key_commands.command("rotate", epilog=examples("bpm key rotate", "bpm key rotate --forget"))
def rotate(
    forget: Annotated[
        bool,
        typer.Option(
            "--forget",
            help="Accept no former key any more, for one that leaked: all access tokens end at once.",
        ),
    ] = False,
    json_output: Json = False,
) -> None:
    """Make a new key that signs access tokens. A running engine takes it up within half a minute.

    The former key stays published, so that the tokens that it has signed hold until they expire.
    """
    from api.identity import keys
    from api.identity.parts import keys_folder, rotation_settles_s

    settings = context.read_settings()
    now_ms = time.time_ns() // 1_000_000
    folder = keys_folder(settings)
    made = keys.rotate(folder, now_ms, settle_s=rotation_settles_s(settings), forget=forget)
    if json_output:
        context.print_json({"kid": made.key_id, "folder": str(folder)})
        return
    console.print(f"The new key is {made.key_id}, in {folder}.", markup=False)
