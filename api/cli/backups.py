"""`bpm backup` and `bpm restore`, of the embedded database."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli import context
from api.cli.context import console
from api.cli.status import bytes_text
from api.settings import Settings
from api.version import VERSION
from domain.errors import BackupRefusedError

if TYPE_CHECKING:
    from storage.backups import Manifest
    from storage.embedded_postgres import Connections
    from storage.operation import Position

Json = Annotated[bool, typer.Option("--json", help="what was done, as one JSON object")]


def backup(
    directory: Annotated[Path, typer.Argument(help="A new or an empty directory.", metavar="DIRECTORY")],
    *,
    json_output: Json = False,
) -> None:
    """Copy the embedded database, with its passwords and keys, while the engine runs and readings come in.

    All that was acknowledged before the command began is in the backup. Every file is verified, and the manifest is
    written last: a directory without manifest.json is no backup. Keep it as secret as the data directory.
    """
    from api.auth import DEVELOPMENT_KEY_FILE
    from api.delivering import sealing
    from storage.backups import take_backup

    keys = (DEVELOPMENT_KEY_FILE, sealing.DEVELOPMENT_KEY_FILE)
    settings = context.read_settings()
    _refuse_outside_database(settings)
    with _server(settings) as connections:
        manifest = take_backup(connections, settings.data_dir, directory, keys, VERSION, console.print)
    if settings.secrets_key_file is not None:
        console.print(f"Not in the backup, because you keep it elsewhere: {settings.secrets_key_file}")
    if json_output:
        context.print_json({"directory": str(directory.absolute())} | _backup_json(manifest))
        return
    console.print(
        f"[green]Done.[/] {directory}: {len(manifest.files)} files, {bytes_text(manifest.size_bytes)}, "
        f"all batches up to {manifest.position.batch_no}."
    )


def restore(
    directory: Annotated[Path, typer.Argument(help="What bpm backup made.", metavar="DIRECTORY")],
    *,
    to: Annotated[Path, typer.Option("--to", help="A new or an empty directory.", metavar="DATA_DIR")],
    erasures: Annotated[
        Path | None,
        typer.Option(
            metavar="DIRECTORY",
            help="Proofs of erasures, instead of those in BPM_DATA_DIR: these tenants are erased again.",
        ),
    ] = None,
    json_output: Json = False,
) -> None:
    """Make a new data directory from a backup: verified, recovered once, checked.

    Tenants that were erased after the backup are erased again, by the proofs in BPM_DATA_DIR. Nothing else is changed.
    A restore that was broken off is never taken for an installation: run it again into the same directory. Exit code 3
    when the backup isn't whole, the directory holds something, or a proof was changed.
    """
    from api.erasing import LIST, erase_again, read_proofs
    from storage.backups import restore_backup

    settings = context.read_settings()
    config = replace(context.embedded_config(settings), data_dir=to.absolute())
    listed = settings.data_dir / LIST if erasures is None else erasures
    if erasures is not None and not erasures.is_dir():
        raise typer.BadParameter(f"{erasures} is no directory.", param_hint="--erasures")
    known = read_proofs(listed)
    console.print(f"Proofs of erasures in {listed}: {len(known)}.", markup=False)

    def finish(connections: "Connections") -> None:
        erase_again(
            connections.admin,
            context.SERVICE_LOGIN,
            known,
            console.print,
            rows_max=settings.erase_rows_max,
        )

    restored = restore_backup(directory, config, console.print, finish=finish)
    if known and listed.absolute() != (to / LIST).absolute():
        # The list goes on in the new directory.
        shutil.copytree(listed, to / LIST, dirs_exist_ok=True)
    position = restored.position
    if json_output:
        told = {"data_dir": str(restored.data_dir), "position": _position_json(position)}
        context.print_json(told | {"backup": _backup_json(restored.manifest)})
        return
    newest = "none" if position.arrived_at is None else f"{position.arrived_at:%Y-%m-%d %H:%M:%S} UTC"
    console.print(
        f"[green]Done.[/] {restored.data_dir} holds all batches up to {position.batch_no}; the newest arrived: "
        f"{newest}. Start it with BPM_DATA_DIR={restored.data_dir} bpm up."
    )


def _refuse_outside_database(settings: Settings) -> None:
    if settings.database_url is not None:
        raise BackupRefusedError(
            "BPM_DATABASE_URL names a database of yours: use its own tools, such as pg_basebackup, pgBackRest or its "
            "provider's snapshots (pg_dump and pg_restore for a copy of the schema bpm)"
        )


@contextmanager
def _server(settings: Settings) -> Iterator["Connections"]:
    """The server of the running engine, or one that is started for the while; nothing is migrated."""
    from storage.embedded_postgres import connections_of_running

    running = connections_of_running(settings.data_dir.absolute())
    if running is not None:
        yield running
        return
    if not (settings.data_dir / "postgres" / "PG_VERSION").exists():
        raise BackupRefusedError(f"{settings.data_dir.absolute()} holds no database; set BPM_DATA_DIR")
    server = context.embedded(settings)
    try:
        yield server.start()
    finally:
        server.stop()


def _backup_json(manifest: "Manifest") -> dict[str, Any]:
    return {
        "made_at": manifest.made_at.isoformat(),
        "engine_version": manifest.engine_version,
        "postgres_version": manifest.postgres_version,
        "files": len(manifest.files),
        "size_bytes": manifest.size_bytes,
        "position": _position_json(manifest.position),
    }


def _position_json(position: "Position") -> dict[str, Any]:
    from storage.backups.manifest import position_json

    return position_json(position)
