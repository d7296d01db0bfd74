"""A tenant that was erased doesn't come back with a backup from before, as long as its proof is kept."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner, Result

from api.cli.context import SERVICE_LOGIN
from api.cli.main import app
from api.database_access import DatabaseAccess, prepare_database
from api.erasing import LIST
from storage.embedded_postgres import EmbeddedConfig, EmbeddedPostgres
from tests.running import running_api

TABLES = ("tenants", "packs", "readings", "batches", "audit_log", "pack_state")


def bpm(data_dir: Path, *arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)], env={"BPM_DATA_DIR": str(data_dir)})


def server(data_dir: Path) -> EmbeddedPostgres:
    return EmbeddedPostgres(EmbeddedConfig(data_dir, shared_buffers_mb=16), lambda _: None)


@dataclass(frozen=True, slots=True)
class Erased:
    """An installation that has erased a tenant, and a backup that has it still."""

    data_dir: Path
    backup: Path


@pytest.fixture(scope="module")
def erased(reachable_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Erased]:
    made = Erased(reachable_folder / "erasing", reachable_folder / "before-erasing")
    running = server(made.data_dir)
    connections = running.start()
    access = DatabaseAccess(connections.admin, connections.service)
    try:
        prepare_database(access, SERVICE_LOGIN)
        with running_api(access, tmp_path_factory.mktemp("engine")) as api:
            for name in ("gone", "kept"):
                with api.client(api.tenant(name)) as client:
                    sent = {"pack": f"of-{name}", "ts": datetime.now(UTC).isoformat(), "voltage_v": 300}
                    assert client.post("/v1/telemetry", json=sent).json()["accepted"] == 1
            done = bpm(made.data_dir, "backup", made.backup)
            assert done.exit_code == 0, done.stderr
            assert bpm(made.data_dir, "tenant", "delete", "gone").exit_code == 0
        refused = bpm(made.data_dir, "tenant", "erase", "gone")
        assert "can be taken back until" in str(refused.exception)
        refused = bpm(made.data_dir, "tenant", "erase", "gone", "--now", "--confirm", "kept")
        assert "was not repeated" in str(refused.exception)
        done = bpm(made.data_dir, "tenant", "erase", "gone", "--now", "--confirm", "gone", "--json")
        assert done.exit_code == 0, done.stderr
        assert json.loads(done.stdout)["rows_left"] == {}
    finally:
        running.stop()
    yield made
    for folder in (made.data_dir, made.backup):
        shutil.rmtree(folder)


@pytest.fixture
def target(reachable_folder: Path) -> Iterator[Path]:
    folder = reachable_folder / "restored-again"
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def text_of(data_dir: Path) -> str:
    """All that the tables of a restored database hold of tenants by name."""
    running = server(data_dir)
    connections = running.start()
    try:
        with psycopg.connect(connections.admin, options="-c search_path=bpm") as connection:
            return "".join(
                str(connection.execute(f"SELECT t::text FROM {table} AS t").fetchall()) for table in TABLES
            )
    finally:
        running.stop()


def test_restore_erases_again_who_was_erased_after_the_backup_and_nobody_else(
    erased: Erased, target: Path
) -> None:
    restored = bpm(erased.data_dir, "restore", erased.backup, "--to", target)
    assert restored.exit_code == 0, restored.stderr
    assert "erasing gone again" in restored.stderr
    found = text_of(target)
    assert "gone" not in found
    assert "of-kept" in found
    proofs = [path.name for path in (erased.data_dir / LIST).iterdir()]
    assert [path.name for path in (target / LIST).iterdir()] == proofs != []


def test_restore_without_the_proofs_brings_the_tenant_back_and_says_that_it_knew_none(
    erased: Erased, target: Path, tmp_path: Path
) -> None:
    restored = bpm(erased.data_dir, "restore", erased.backup, "--to", target, "--erasures", tmp_path)
    assert restored.exit_code == 0, restored.stderr
    assert f"Proofs of erasures in {tmp_path}: 0." in restored.stderr
    assert "of-gone" in text_of(target)


def test_restore_is_refused_with_a_proof_that_was_changed(
    erased: Erased, target: Path, tmp_path: Path
) -> None:
    (proof,) = (erased.data_dir / LIST).iterdir()
    (tmp_path / proof.name).write_text(proof.read_text().replace("gone", "kept"))
    refused = bpm(erased.data_dir, "restore", erased.backup, "--to", target, "--erasures", tmp_path)
    assert "was changed" in str(refused.exception)
    assert not target.exists()
