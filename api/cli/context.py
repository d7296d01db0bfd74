"""What commands share: settings, a way to the database, tokens, exit codes.

The engine itself is imported where it is used, since a command must start at once.
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import IntEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.text import Text

from api.settings import Settings
from domain.errors import (
    BackupFailedError,
    BpmError,
    DatabaseRefusedError,
    EraseFailedError,
    ExportFailedError,
    KafkaUnreachableError,
    MoveFailedError,
    SettingUnreadableError,
)

if TYPE_CHECKING:
    from rich.table import Table

    from api.database_access import DatabaseAccess
    from storage.embedded_postgres import EmbeddedConfig, EmbeddedPostgres

Kafka = Annotated[
    str | None,
    typer.Option("--kafka", metavar="HOST:PORT", help="Brokers of a Kafka cluster, instead of BPM_KAFKA."),
]

BEGAN_S = time.monotonic()
"""When the command began, by the monotonic clock."""

SERVICE_LOGIN = "bpm_service"
"""Login of the embedded server that serves requests and ingests; it holds no privilege by itself."""


_CONNECT_S_MAX = 5


class Exit(IntEnum):
    """Exit codes of every command."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3


console = Console(stderr=True, highlight=False, soft_wrap=True)
"""Where people read; standard output is for results."""

_LINE_MAX = 10_000
"""Characters of a line of a table: a terminal wraps what it has no room for, and a pipe gets it whole."""


def compile_kernels() -> None:
    """Before the engine is imported: what a first start waits for, and one after an update."""
    from api import compiling

    if not compiling.are_compiled():
        console.print("Compiling the kernels, once on this machine; this may take a minute.")
        compiling.compile_kernels()


def read_settings(*, kafka: str | None = None) -> Settings:
    """The settings. Raises SettingUnreadableError that names the first wrong one.

    kafka: what an option gives in the place of BPM_KAFKA.
    """
    try:
        return Settings() if kafka is None else Settings(kafka=kafka)
    except ValidationError as error:
        first = error.errors()[0]
        name = "BPM_" + "_".join(str(part) for part in first["loc"]).upper()
        raise SettingUnreadableError(f"{name}: {first['msg']}", field=name) from error


def embedded(settings: Settings) -> "EmbeddedPostgres":
    """The embedded server of these settings, not started."""
    from storage.embedded_postgres import EmbeddedPostgres

    return EmbeddedPostgres(embedded_config(settings), console.print)


def embedded_config(settings: Settings) -> "EmbeddedConfig":
    """How these settings run the embedded server."""
    from storage.embedded_postgres import EmbeddedConfig

    return EmbeddedConfig(
        data_dir=settings.data_dir.absolute(),
        shared_buffers_mb=settings.postgres_shared_buffers_mb,
        run_as=settings.postgres_run_as,
    )


@contextmanager
def database(settings: Settings) -> Iterator["DatabaseAccess"]:
    """The database for one command: the external one, that of a running engine, or one started for the while.

    It is migrated, unless an engine runs on it, which has done so itself.
    """
    from api.database_access import DatabaseAccess, prepare_database
    from storage.embedded_postgres import connections_of_running

    if settings.database_url is not None:
        access = DatabaseAccess(settings.database_url.get_secret_value())
        prepare_database(access, None)
        yield access
        return
    running = connections_of_running(settings.data_dir.absolute())
    if running is not None:
        yield DatabaseAccess(running.admin, running.service)
        return
    server = embedded(settings)
    connections = server.start()
    try:
        access = DatabaseAccess(connections.admin, connections.service)
        prepare_database(access, SERVICE_LOGIN)
        yield access
    finally:
        server.stop()


def reachable_database(settings: Settings) -> "DatabaseAccess | None":
    """The external database, or that of a running engine, as it is; None when the embedded one doesn't run.

    Raises DatabaseRefusedError when the caller may not read the data directory.
    """
    from api.database_access import DatabaseAccess
    from storage.embedded_postgres import connections_of_running

    if settings.database_url is not None:
        return DatabaseAccess(settings.database_url.get_secret_value())
    running = connections_of_running(settings.data_dir.absolute())
    return None if running is None else DatabaseAccess(running.admin, running.service)


def require_tenant(name: str) -> None:
    """That there is a tenant of this name, as far as the database can be asked now. Raises NotFoundError."""
    import psycopg
    from psycopg.conninfo import make_conninfo

    from storage.database import INGEST_ROLE
    from storage.tenants import get

    settings = read_settings()
    try:
        access = reachable_database(settings)
        if access is not None:
            get(make_conninfo(access.as_role(INGEST_ROLE, settings), connect_timeout=_CONNECT_S_MAX), name)
    except (DatabaseRefusedError, psycopg.Error):
        return


def development_token(
    tenant: str,
    role: str,
    *,
    sites: list[str] | None = None,
    regions: list[str] | None = None,
    pack: str | None = None,
) -> str:
    """A token of the development issuer. Raises SettingsRefusedError in production."""
    from api import auth

    limits = {"sites": sites, "regions": regions}
    return auth.development_token(read_settings(), tenant, role, time.time(), pack=pack, **limits)


def development_platform_token() -> str:
    """The same, of an operator of the installation. Raises SettingsRefusedError in production."""
    from api import auth

    return auth.development_platform_token(read_settings(), time.time())


def moment(text: str, option: str) -> datetime:
    """The time that an option gives, in UTC. Raises typer.BadParameter for what is no RFC 3339 time with an offset."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text} is no RFC 3339 time.", param_hint=option) from error
    if found.tzinfo is None:
        raise typer.BadParameter(f"{text} has no offset; write Z for UTC.", param_hint=option)
    return found.astimezone(UTC)


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def print_json(content: dict[str, Any]) -> None:
    """The result for machines, as one line on standard output."""
    sys.stdout.write(json.dumps(content, default=_plain) + "\n")
    sys.stdout.flush()


def print_table(table: "Table") -> None:
    """The result for people, on standard output; nothing is cut or wrapped for the width of a terminal."""
    Console(markup=False, emoji=False, highlight=False, width=_LINE_MAX).print(table)


def examples(*commands: str) -> str:
    """The end of a command's help: how it is used."""
    return "Examples:\n\n" + "\n".join(f"- `{command}`" for command in commands)


def exit_with(error: Exception) -> int:
    """Say what went wrong, to people; returns the exit code."""
    import httpx
    import psycopg

    if isinstance(
        error,
        (BackupFailedError, EraseFailedError, ExportFailedError, KafkaUnreachableError, MoveFailedError),
    ):
        console.print(Text.assemble((f"{error.title}: ", "bold red"), error.detail))
        return Exit.FAILED
    if isinstance(error, BpmError):
        # The end of some titles is for clients of the API.
        title = error.title.partition("; try again after")[0]
        console.print(Text.assemble((f"{title}: ", "bold red"), error.detail))
        return Exit.USAGE if isinstance(error, SettingUnreadableError) else Exit.REFUSED
    if isinstance(error, httpx.TransportError):
        address = error.request.url.copy_with(path="/", query=None)
        told = (
            f"at {address} nobody answers as an engine ({error}); start it with `bpm up`, or give its --url"
        )
        console.print(Text.assemble(("The engine can't be reached: ", "bold red"), told))
        return Exit.FAILED
    if isinstance(error, psycopg.errors.LockNotAvailable):
        held = "another process holds what this needs; nothing was changed, try again"
        console.print(Text.assemble(("The database is busy: ", "bold red"), held))
        return Exit.FAILED
    if isinstance(error, psycopg.OperationalError):
        console.print(Text.assemble(("The database can't be reached: ", "bold red"), str(error)))
        return Exit.FAILED
    raise error
