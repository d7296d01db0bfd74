"""A short run of what `python -m tests.backups` does for long, and what a restore refuses."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from domain.errors import BackupRefusedError, DatabaseRefusedError
from storage.backups import Restored, read_manifest, restore_backup, take_backup
from storage.embedded_postgres import EmbeddedConfig, EmbeddedPostgres
from tests.backups.rounds import Result, Source, back_up_and_restore
from tests.faults.campaign import kept_when_it_fails


def test_backup_during_ingest_restored_elsewhere_holds_all_that_was_acknowledged_before() -> None:
    result = Result()
    with kept_when_it_fails(0) as folder:
        source = Source(folder)
        try:
            back_up_and_restore(source, 0, result, None)
        finally:
            source.clear()
    assert result.done == {"backups": 1, "restores": 1}
    assert result.restored >= result.acknowledged > 0


def quiet(_: str) -> None:
    """Takes lines of progress."""


def config(data_dir: Path) -> EmbeddedConfig:
    return EmbeddedConfig(data_dir, shared_buffers_mb=16)


@pytest.fixture(scope="module")
def backup(reachable_folder: Path) -> Iterator[Path]:
    """A backup of a cluster with a migrated database."""
    from api.cli.context import SERVICE_LOGIN
    from api.database_access import DatabaseAccess, prepare_database

    source = reachable_folder / "backed-up"
    server = EmbeddedPostgres(config(source), quiet)
    connections = server.start()
    try:
        prepare_database(DatabaseAccess(connections.admin, connections.service), SERVICE_LOGIN)
        (source / "a-key").write_text("secret")
        take_backup(connections, source, reachable_folder / "backup", ["a-key", "no-key"], "1.2.3", quiet)
    finally:
        server.stop()
    yield reachable_folder / "backup"
    shutil.rmtree(source)


@pytest.fixture
def damaged(backup: Path, reachable_folder: Path) -> Iterator[Path]:
    """A copy of the backup, to be damaged."""
    copied = reachable_folder / "damaged"
    shutil.copytree(backup, copied)
    yield copied
    shutil.rmtree(copied)


@pytest.fixture
def target(reachable_folder: Path) -> Iterator[Path]:
    folder = reachable_folder / "target"
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def restore(backup: Path, target: Path) -> Restored:
    return restore_backup(backup, config(target), quiet)


def test_backup_holds_keys_for_its_owner_alone_and_nothing_of_the_running_server(backup: Path) -> None:
    manifest = read_manifest(backup)
    assert {path.name for path in backup.iterdir()} == {"data", "manifest.json"}
    assert {path.name for path in (backup / "data").iterdir()} == {"a-key", "postgres", "secrets"}
    for path in backup.rglob("*"):
        assert not path.lstat().st_mode & 0o077, path
    assert manifest.engine_version == "1.2.3"
    assert manifest.size_bytes == sum(
        path.stat().st_size for path in (backup / "data").rglob("*") if path.is_file()
    )


def test_backup_into_a_directory_that_holds_something_or_into_the_data_is_refused(backup: Path) -> None:
    from storage.backups.taking import _make_empty
    from storage.embedded_postgres.layout import Layout

    with pytest.raises(BackupRefusedError, match="holds something"):
        _make_empty(backup, Layout.at(backup.parent / "elsewhere"))
    with pytest.raises(BackupRefusedError, match="lies in the data directory"):
        _make_empty(backup / "inside", Layout.at(backup))
    assert not (backup / "inside").exists()


def test_restore_is_refused_into_a_directory_that_holds_something(backup: Path, target: Path) -> None:
    target.mkdir()
    (target / "letters").write_text("kept")
    with pytest.raises(BackupRefusedError, match="letters"):
        restore(backup, target)
    assert [path.name for path in target.iterdir()] == ["letters"]


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def a_table_of(backup: Path) -> Path:
    files = (backup / "data" / "postgres" / "base").rglob("[0-9]*")
    return max((path for path in files if path.is_file()), key=lambda path: path.stat().st_size)


@pytest.mark.parametrize("harm", ["no manifest", "bit", "missing", "strange", "promise", "format"])
def test_damaged_backup_is_refused_and_leaves_no_installation(damaged: Path, target: Path, harm: str) -> None:
    manifest = damaged / "manifest.json"
    if harm == "no manifest":
        manifest.unlink()
    elif harm == "bit":
        flipped(a_table_of(damaged))
    elif harm == "missing":
        a_table_of(damaged).unlink()
    elif harm == "strange":
        (damaged / "data" / "postgres" / "extra").write_text("?")
    else:
        content = json.loads(manifest.read_text())
        changed = {"format": 2} if harm == "format" else {"position": content["position"] | {"batch_no": 9}}
        manifest.write_text(json.dumps(content | changed))
    with pytest.raises(BackupRefusedError):
        restore(damaged, target)
    assert not target.exists() or {path.name for path in target.iterdir()} <= {"lock"}


@pytest.mark.parametrize("path", ["../neighbour/file", "/etc/file", "postgres/../../file", ""])
def test_manifest_that_leads_out_of_the_backup_is_refused_and_nothing_there_is_touched(
    damaged: Path, target: Path, path: str
) -> None:
    neighbour = target.parent / "neighbour"
    neighbour.mkdir()
    content = json.loads((damaged / "manifest.json").read_text())
    content["files"].append({"path": path, "size_bytes": 0, "sha256": hashlib.sha256().hexdigest()})
    del content["digest"]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    (damaged / "manifest.json").write_text(json.dumps(content | {"digest": digest}))
    with pytest.raises(BackupRefusedError, match="doesn't lie in the backup"):
        restore(damaged, target)
    assert neighbour.is_dir()
    neighbour.rmdir()


def test_half_restored_directory_is_refused_by_an_engine_and_finished_by_another_restore(
    backup: Path, target: Path
) -> None:
    target.mkdir(mode=0o700)
    for moved in ("", "postgres", "secrets"):
        # As a kill leaves it: while copying, and in the middle of the moves at the end.
        (target / "restoring" / "postgres").mkdir(parents=True, exist_ok=True)
        if moved:
            (target / moved).mkdir(exist_ok=True)
        with pytest.raises(DatabaseRefusedError, match="isn't whole"):
            EmbeddedPostgres(config(target), quiet).start()
    restored = restore(backup, target)
    assert restored.position == restored.manifest.position
    assert (target / "a-key").read_text() == "secret"
    assert not (target / "restoring").exists()
    server = EmbeddedPostgres(config(target), quiet)
    server.start()
    server.stop()
