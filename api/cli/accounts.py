"""`bpm service-account` and `bpm device`: who calls without being a person, and their API keys."""

import asyncio
import sys
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli import context
from api.cli.context import console, examples
from domain.errors import InvalidRequestError, NotFoundError
from domain.tenancy import Actor, Role

if TYPE_CHECKING:
    from api.database_access import DatabaseAccess
    from api.settings import Settings
    from storage.registry import Registry
    from storage.service_accounts import Accounts
    from storage.transactions import Transaction

Work = Callable[["Accounts", "Transaction", "Registry"], Awaitable[Any]]

Tenant = Annotated[str, typer.Option(help="The tenant's name.")]
Named = Annotated[str, typer.Argument(help="The account's name.")]
Json = Annotated[bool, typer.Option("--json", help="what was done, as one JSON object")]

SUBJECT = "command line"
"""As whom the audit log names these commands."""

_LISTED_MAX = 1000


def _do(kind: str, tenant: str, work: Work) -> Any:
    settings = context.read_settings()
    with context.database(settings) as access:
        return asyncio.run(_in_tenant(settings, access, kind, tenant, work))


async def _in_tenant(
    settings: "Settings", access: "DatabaseAccess", kind: str, tenant: str, work: Work
) -> Any:
    from api.database_access import open_pools
    from api.service_accounts.service import accounts_of
    from storage.registry import Registry
    from storage.service_accounts import AccountKind
    from storage.transactions import Transactions

    requests, directory = open_pools(settings, access)
    async with requests, directory:
        registry = Registry(directory)
        found = await registry.tenant(tenant)
        if found is None:
            raise NotFoundError(f"there is no tenant {tenant}", field="tenant")
        found.place.require_near(found.name)
        found.place.require_settled(found.name, settings.retry_after_s)
        actor = Actor(SUBJECT, found.tenant_id, found.name, frozenset({Role.TENANT_ADMIN}))
        accounts = accounts_of(AccountKind(kind), settings, datetime.now(UTC))
        async with Transactions(requests).begin(actor, uuid.uuid4().hex) as transaction:
            return await work(accounts, transaction, registry)


def commands_of(kind: str) -> typer.Typer:
    """The commands that service accounts and devices have alike."""
    title = "device" if kind == "device" else "service-account"
    group = typer.Typer(help=f"{title.replace('-', ' ').capitalize()}s of a tenant.", no_args_is_help=True)

    @group.command("list", epilog=examples(f"bpm {title} list --tenant demo"))
    def list_(tenant: Tenant, json_output: Json = False) -> None:
        """List them with their state."""

        async def page(accounts: "Accounts", transaction: "Transaction", _: "Registry") -> Any:
            return (await accounts.page(transaction, None, _LISTED_MAX))[0]

        _show(_do(kind, tenant, page), json_output, ("name", "state", "roles", "pack"))

    def change(verb: str, state: str) -> None:
        @group.command(verb, epilog=examples(f"bpm {title} {verb} NAME --tenant demo"))
        def changed(name: Named, tenant: Tenant) -> None:
            async def work(accounts: "Accounts", transaction: "Transaction", _: "Registry") -> Any:
                row = await accounts.get_by_name(transaction, name)
                await accounts.change(transaction, row["id"], row["version"], {"state": state})

            _do(kind, tenant, work)
            console.print(f"{name} is {state}. A running engine takes it up within half a minute.")

        changed.__doc__ = f"Make it {state}, with all its keys."

    change("suspend", "suspended")
    change("activate", "active")

    @group.command("delete", epilog=examples(f"bpm {title} delete NAME --tenant demo"))
    def delete(name: Named, tenant: Tenant) -> None:
        """Delete it with its keys; for BPM_ACCOUNT_GRACE_DAYS it can be restored."""

        async def work(accounts: "Accounts", transaction: "Transaction", _: "Registry") -> Any:
            await accounts.delete(transaction, (await accounts.get_by_name(transaction, name))["id"])

        _do(kind, tenant, work)
        console.print(f"{name} is deleted.")

    @group.command("restore", epilog=examples(f"bpm {title} restore NAME --tenant demo"))
    def restore(name: Named, tenant: Tenant) -> None:
        """Restore it as it was before it was deleted."""

        async def work(accounts: "Accounts", transaction: "Transaction", _: "Registry") -> Any:
            await accounts.restore(transaction, (await accounts.get_by_name(transaction, name))["id"])

        _do(kind, tenant, work)
        console.print(f"{name} is restored.")

    group.add_typer(_key_commands(kind, title), name="key")
    return group


def _key_commands(kind: str, title: str) -> typer.Typer:
    keys = typer.Typer(help="Their API keys.", no_args_is_help=True)

    @keys.command(
        "add", epilog=examples(f"bpm {title} key add NAME --tenant demo --expires 2027-01-01T00:00:00Z")
    )
    def add(
        name: Named,
        tenant: Tenant,
        label: Annotated[str, typer.Option("--name", help="What the key is for.")] = "command line",
        expires: Annotated[
            str | None, typer.Option(help="RFC 3339 time from which it is refused; never by default.")
        ] = None,
    ) -> None:
        """Make an API key and print it, alone on standard output. It is shown this once."""
        from api.service_accounts.service import new_key

        expires_at = None if expires is None else context.moment(expires, "--expires")
        text, kept = new_key(label, None, None, expires_at)

        async def work(accounts: "Accounts", transaction: "Transaction", _: "Registry") -> Any:
            account = await accounts.get_by_name(transaction, name)
            await accounts.add_key(transaction, account["id"], kept)

        _do(kind, tenant, work)
        sys.stdout.write(text + "\n")

    @keys.command("list", epilog=examples(f"bpm {title} key list NAME --tenant demo"))
    def list_keys(name: Named, tenant: Tenant, json_output: Json = False) -> None:
        """List its keys, revoked ones too."""

        async def work(accounts: "Accounts", transaction: "Transaction", _: "Registry") -> Any:
            account = await accounts.get_by_name(transaction, name)
            return (await accounts.keys(transaction, account["id"], None, _LISTED_MAX))[0]

        columns = ("id", "name", "expires_at", "revoked_at", "last_used_at")
        _show(_do(kind, tenant, work), json_output, columns)

    @keys.command("revoke", epilog=examples(f"bpm {title} key revoke NAME 0Fq3ZkT9vBxA --tenant demo"))
    def revoke(
        name: Named,
        key: Annotated[str, typer.Argument(help="The key's id: what stands after bpm_ in its text.")],
        tenant: Tenant,
    ) -> None:
        """Revoke a key. A running engine refuses it within a minute, live streams included."""

        async def work(accounts: "Accounts", transaction: "Transaction", _: "Registry") -> Any:
            account = await accounts.get_by_name(transaction, name)
            await accounts.revoke_key(transaction, account["id"], key)

        _do(kind, tenant, work)
        console.print(f"The key {key} is revoked.")

    return keys


def _show(rows: list[dict[str, Any]], json_output: bool, columns: tuple[str, ...]) -> None:
    if json_output:
        context.print_json({"items": rows})
        return
    for row in rows:
        shown = [_text(row[name]) for name in columns if row[name] is not None]
        sys.stdout.write("  ".join(shown) + "\n")


def _text(value: Any) -> str:
    return ",".join(value) if isinstance(value, list) else str(value)


service_accounts = commands_of("service")
devices = commands_of("device")


@service_accounts.command(
    "create", epilog=examples("bpm service-account create reports --tenant demo --role analyst")
)
def create_service_account(
    name: Named,
    tenant: Tenant,
    role: Annotated[list[str], typer.Option(help="What it may do; may be repeated.")],
    site: Annotated[list[str] | None, typer.Option(help="Limit it to a site; may be repeated.")] = None,
    region: Annotated[
        list[str] | None, typer.Option(help="Limit it to the sites of a region; may be repeated.")
    ] = None,
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    json_output: Json = False,
) -> None:
    """Make a service account: a program that calls. Give it a key by `key add`."""

    async def work(accounts: "Accounts", transaction: "Transaction", registry: "Registry") -> Any:
        known = {*map(str, Role), *(await registry.rights(transaction.actor.tenant_id)).roles}
        if unknown := sorted({*role} - known):
            raise InvalidRequestError(f"there is no role {', '.join(unknown)}", field="role")
        values = {"name": name, "description": description, "roles": role, "sites": site, "regions": region}
        return await accounts.create(transaction, values | {"pack": None})

    made = _do("service", tenant, work)
    _made(made, json_output)


@devices.command("create", epilog=examples("bpm device create NX-1 --tenant demo"))
def create_device(
    pack: Annotated[str, typer.Argument(help="External id of the pack whose readings it sends.")],
    tenant: Tenant,
    name: Annotated[str | None, typer.Option(help="Its name; that of the pack by default.")] = None,
    description: Annotated[str, typer.Option(help="What it is.")] = "",
    json_output: Json = False,
) -> None:
    """Make a device, which sends the readings of one pack and no other. Give it a key by `key add`."""

    async def work(accounts: "Accounts", transaction: "Transaction", _: "Registry") -> Any:
        from api.devices.service import values_of

        return await accounts.create(transaction, await values_of(transaction, pack, name, description))

    _made(_do("device", tenant, work), json_output)


def _made(row: dict[str, Any], json_output: bool) -> None:
    if json_output:
        context.print_json(row)
    else:
        console.print(f"{row['name']} is made, with the id {row['id']}.")
