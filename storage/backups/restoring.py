"""A backup is restored into a new data directory, beside which nothing is changed.

Everything is made in `restoring/` inside of it. While that folder is there, no engine starts on the directory, so a
restore that was killed is never taken for an installation.
"""

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import psycopg
from psycopg.conninfo import make_conninfo

from domain.errors import BackupRefusedError, DatabaseRefusedError
from storage.backups.manifest import DATA, Manifest, StoredFile, read_in_blocks, read_manifest, tree
from storage.checks import check_database
from storage.connections import connect
from storage.database import SCHEMA
from storage.embedded_postgres import EmbeddedConfig, EmbeddedPostgres
from storage.embedded_postgres.account import PRIVATE_MODE, Account, choose_account
from storage.embedded_postgres.config import POSTGRES_MAJOR, Connections
from storage.embedded_postgres.layout import Layout
from storage.embedded_postgres.private_files import (
    hold_lock,
    make_private_folder,
    require_reachable,
    sync_folder,
)
from storage.embedded_postgres.processes import clear_servers, read_record
from storage.migrate import migrations
from storage.operation import Position, position

_PRIVATE_FILE: Final = 0o600


@dataclass(frozen=True, slots=True)
class Restored:
    """A data directory that was restored: what the backup promised, and what the database holds."""

    data_dir: Path
    manifest: Manifest
    position: Position


def restore_backup(
    backup: Path,
    config: EmbeddedConfig,
    report: Callable[[str], None],
    *,
    finish: Callable[[Connections], None] = lambda _: None,
    make_server: Callable[[EmbeddedConfig, Callable[[str], None]], EmbeddedPostgres] = EmbeddedPostgres,
) -> Restored:
    """A new data directory with what a backup holds: each file verified, recovered, and checked.

    config: of the server in the new directory, which must not exist, or be empty, or hold what a restore left that
    was killed. finish: what is done with the recovered database before it is an installation. Raises
    BackupRefusedError, DatabaseRefusedError; the directory then holds no installation.
    """
    backup = backup.expanduser().absolute()
    manifest = read_manifest(backup)
    _require_known_versions(manifest)
    layout = Layout.at(config.data_dir)
    try:
        account = choose_account(layout.data_dir, layout.cluster, config.run_as)
        lock = _hold_empty(layout, account, manifest)
    except OSError as error:
        raise BackupRefusedError(f"{layout.data_dir} can't be written: {error}; name another") from error
    try:
        _copy_verified(backup, layout.restoring, manifest, account, report)
        found = _recover(replace(config, data_dir=layout.restoring), manifest, report, finish, make_server)
        _put_in_place(layout)
    except OSError as error:
        raise BackupRefusedError(f"the backup can't be restored to {layout.data_dir}: {error}") from error
    finally:
        # After success there is nothing left; after a failure nothing may stay that looks like an installation.
        _clear(layout, manifest)
        os.close(lock)
    return Restored(layout.data_dir, manifest, found)


def _require_known_versions(manifest: Manifest) -> None:
    if manifest.postgres_major != POSTGRES_MAJOR:
        raise BackupRefusedError(
            f"the backup is of PostgreSQL {manifest.postgres_version}, this engine runs PostgreSQL {POSTGRES_MAJOR}; "
            "restore it with the version of the engine that made it",
            limit=POSTGRES_MAJOR,
        )
    newest = max(migration.number for migration in migrations())
    if manifest.position.migration > newest:
        raise BackupRefusedError(
            f"the backup was made by a newer version of the engine, {manifest.engine_version}; restore it with that",
            limit=newest,
        )


def _hold_empty(layout: Layout, account: Account, manifest: Manifest) -> int:
    """Make and hold the directory, which is empty, or has been emptied of what a killed restore left."""
    data_dir = layout.data_dir
    require_reachable(data_dir.parent, account, f"the directory {data_dir}", "name another")
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    if data_dir.is_dir() and not layout.restoring.is_dir():
        held = sorted({entry.name for entry in data_dir.iterdir()} - {layout.lock.name})
        if held:
            raise BackupRefusedError(
                f"{data_dir} holds {', '.join(held[:5])}; a backup is restored into a new or an empty directory only"
            )
    make_private_folder(data_dir, account)
    lock = hold_lock(layout, account)
    try:
        _clear(layout, manifest)
        make_private_folder(layout.restoring, account)
        sync_folder(data_dir)
    except BaseException:
        os.close(lock)
        raise
    return lock


def _clear(layout: Layout, manifest: Manifest) -> None:
    """Remove `restoring/` and what was moved out of it, with a server that may still run there.

    The directory was empty before `restoring/` was made, and no engine starts while it is there. It goes last.
    """
    if not layout.restoring.is_dir():
        return
    unfinished = Layout.at(layout.restoring)
    record = read_record(unfinished.record)
    if record is not None:
        clear_servers(unfinished.cluster, record.marker, 0, lambda _: None)
    for name in {
        path.partition("/")[0] for path in (*manifest.folders, *(one.path for one in manifest.files))
    }:
        moved = layout.data_dir / name
        if moved.is_dir():
            shutil.rmtree(moved)
        else:
            moved.unlink(missing_ok=True)
    shutil.rmtree(layout.restoring)
    sync_folder(layout.data_dir)


def _copy_verified(
    backup: Path, target: Path, manifest: Manifest, account: Account, report: Callable[[str], None]
) -> None:
    """Copy every file, and refuse the backup when one isn't what the manifest says, is missing, or is too many."""
    source = backup / DATA
    _, present = tree(source)
    strange = sorted(set(present) - {file.path for file in manifest.files})
    if strange:
        raise BackupRefusedError(f"{source / strange[0]} doesn't belong to the backup")
    report(f"verifying and copying {len(manifest.files)} files")
    for path in manifest.folders:
        (target / path).mkdir(PRIVATE_MODE)
        account.own(target / path)
    for file in manifest.files:
        _copy_file(source, target, file, account)


def _copy_file(source: Path, target: Path, file: StoredFile, account: Account) -> None:
    digest = hashlib.sha256()
    descriptor = os.open(target / file.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE_FILE)
    with os.fdopen(descriptor, "wb") as copied:
        try:
            for block in read_in_blocks(source / file.path):
                digest.update(block)
                copied.write(block)
        except FileNotFoundError as error:
            raise BackupRefusedError(f"{source / file.path} is missing from the backup") from error
        copied.flush()
        os.fsync(copied.fileno())
    account.own(target / file.path)
    if digest.hexdigest() != file.sha256:
        raise BackupRefusedError(f"{source / file.path} was damaged after the backup had been made")


def _recover(
    config: EmbeddedConfig,
    manifest: Manifest,
    report: Callable[[str], None],
    finish: Callable[[Connections], None],
    make_server: Callable[[EmbeddedConfig, Callable[[str], None]], EmbeddedPostgres],
) -> Position:
    """Let the server bring the copy to a consistent state, and check what it holds."""
    report("recovering the database")
    server = make_server(config, report)
    connections = server.start()
    try:
        check_database(connections.admin, connections.service)
        where = make_conninfo(connections.admin, options=f"-c search_path={SCHEMA}")
        with connect(where, autocommit=True) as connection:
            found = position(connection)
        _require_promised(manifest, found)
        finish(connections)
    except psycopg.Error as error:
        raise DatabaseRefusedError(f"the restored database can't be read: {error}") from error
    finally:
        server.stop()
    return found


def _require_promised(manifest: Manifest, found: Position) -> None:
    promised = manifest.position
    behind = [number for number, next_ in promised.next.items() if found.next.get(number, -1) < next_]
    if found.installation != promised.installation or found.batch_no < promised.batch_no or behind:
        raise BackupRefusedError(
            f"the restored database holds batches up to {found.batch_no}, the backup promised {promised.batch_no}"
        )


def _put_in_place(layout: Layout) -> None:
    """Move what was restored to where an engine looks for it; the folder goes last, which makes it an installation."""
    made = Layout.at(layout.restoring)
    of_the_run = {made.lock.name, made.record.name, made.log.name, "socket"}
    for entry in layout.restoring.iterdir():
        if entry.name not in of_the_run:
            entry.rename(layout.data_dir / entry.name)
    sync_folder(layout.data_dir)
    shutil.rmtree(layout.restoring)
    sync_folder(layout.data_dir)
