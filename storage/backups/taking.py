"""A backup is taken while the server runs and readings come in.

PostgreSQL's pg_basebackup copies the cluster together with the log that makes the copy consistent. Every file is
then read back and compared with what the server says it sent, as pg_verifybackup does; that of the package crashes.
"""

import ctypes
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from domain.errors import BackupFailedError, BackupRefusedError
from storage.backups.manifest import DATA, Manifest, StoredFile, stored_file, tree, write_manifest
from storage.connections import connect
from storage.database import SCHEMA
from storage.embedded_postgres.account import PRIVATE_MODE
from storage.embedded_postgres.binaries import packaged_installation
from storage.embedded_postgres.config import Connections
from storage.embedded_postgres.layout import Layout
from storage.operation import position

_SERVER_MANIFEST: Final = "backup_manifest"
_PRIVATE_FILE: Final = 0o600
_SET_DEATH_SIGNAL: Final = 1


def take_backup(
    connections: Connections,
    data_dir: Path,
    directory: Path,
    keys: Iterable[str],
    engine_version: str,
    report: Callable[[str], None],
) -> Manifest:
    """What was copied from a running server of ours into a new or empty directory, verified.

    keys: names of files of the data directory that belong to the installation, such as signing keys; those that don't
    exist are left out. Raises BackupRefusedError for a directory that holds something, BackupFailedError.
    """
    layout = Layout.at(data_dir)
    backup = directory.expanduser().absolute()
    _make_empty(backup, layout)
    where = make_conninfo(connections.admin, options=f"-c search_path={SCHEMA}")
    made_at = datetime.now(UTC)
    try:
        with connect(where, autocommit=True) as connection:
            began_at = position(connection)
            version = connection.info.server_version
        report(f"copying the database, which holds batches up to {began_at.batch_no}")
        data = backup / DATA
        data.mkdir(PRIVATE_MODE)
        _copy_cluster(connections.admin, data / layout.cluster.name)
        _copy_keys(layout, data, keys)
        report("verifying what was copied")
        folders, names = tree(data)
        files = tuple(stored_file(data, name) for name in names)
        _require_as_sent(data / layout.cluster.name, files)
        manifest = Manifest(
            made_at,
            engine_version,
            f"{version // 10_000}.{version % 10_000}",
            began_at,
            tuple(folders),
            files,
        )
        write_manifest(backup, manifest)
    except OSError as error:
        raise BackupFailedError(f"the backup to {backup} failed: {error}; remove what is there") from error
    return manifest


def _make_empty(backup: Path, layout: Layout) -> None:
    if backup.resolve().is_relative_to(layout.data_dir):
        raise BackupRefusedError(
            f"{backup} lies in the data directory, with which it would be lost; name another"
        )
    try:
        backup.mkdir(PRIVATE_MODE, parents=True, exist_ok=True)
        if any(backup.iterdir()):
            raise BackupRefusedError(f"{backup} holds something already; name a new or an empty directory")
        # It holds passwords and keys.
        backup.chmod(PRIVATE_MODE)
    except OSError as error:
        raise BackupRefusedError(f"{backup} can't be written: {error}; name another directory") from error


def _copy_cluster(admin: str, target: Path) -> None:
    """Run pg_basebackup, which syncs what it wrote, and verifies the checksum of each page that it reads."""
    address = conninfo_to_dict(admin)
    command: list[str | Path] = [
        packaged_installation() / "bin" / "pg_basebackup",
        f"--pgdata={target}",
        f"--host={address['host']}",
        f"--port={address['port']}",
        f"--username={address['user']}",
        "--no-password",
        "--checkpoint=fast",
        "--wal-method=stream",
        "--manifest-checksums=SHA256",
    ]
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LC_ALL": "C",
        "PGPASSWORD": str(address["password"]),
    }
    done = subprocess.run(  # noqa: S603 -- the command is ours; commands run without other threads
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        preexec_fn=_end_with_parent,
    )
    if done.returncode != 0:
        said = os.fsdecode(done.stderr).strip()
        raise BackupFailedError(f"pg_basebackup ended with {done.returncode}: {said[-1000:]}")


def _end_with_parent() -> None:
    """A copy that nobody will finish must not go on writing after its parent was killed."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)


def _copy_keys(layout: Layout, data: Path, keys: Iterable[str]) -> None:
    """Copy passwords and keys, for the backup's owner alone."""
    shutil.copytree(layout.secrets, data / layout.secrets.name)
    (data / layout.secrets.name).chmod(PRIVATE_MODE)
    copied = list((data / layout.secrets.name).iterdir())
    copied += [
        Path(shutil.copyfile(layout.data_dir / name, data / name))
        for name in keys
        if (layout.data_dir / name).exists()
    ]
    for path in copied:
        path.chmod(_PRIVATE_FILE)
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _require_as_sent(cluster: Path, files: Iterable[StoredFile]) -> None:
    """Raises BackupFailedError when a file of the cluster isn't what the server sent."""
    found = {file.path: file for file in files}
    sent = json.loads((cluster / _SERVER_MANIFEST).read_text(encoding="utf-8"))["Files"]
    for entry in sent:
        name = entry["Path"] if "Path" in entry else bytes.fromhex(entry["Encoded-Path"]).decode()
        file = found.get(f"{cluster.name}/{name}")
        if file is None or (file.size_bytes, file.sha256) != (entry["Size"], entry["Checksum"]):
            raise BackupFailedError(f"{cluster / name} isn't what the server sent; the disk may be failing")
