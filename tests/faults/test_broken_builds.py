"""Each promise is kept by the engine, and a build that was broken on purpose is caught (P1, P2)."""

import uuid
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from api.database_access import DatabaseAccess, prepare_database
from storage.embedded_postgres import Connections
from tests.faults.builds import PATCHES, PatchDoesNotApplyError, broken_build
from tests.faults.engine_process import ROOT
from tests.faults.promises import PROMISES, Promise, PromiseBrokenError, Trial

by_patch = pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.keep.__name__)


@pytest.fixture
def administrator(postgres: Connections) -> str:
    """A migrated database for one trial."""
    name = f"trial_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres.admin, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    conninfo = make_conninfo(postgres.admin, dbname=name)
    prepare_database(DatabaseAccess(conninfo), None)
    return conninfo


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "engine"
    made.mkdir()
    return made


@by_patch
def test_promise_is_kept(promise: Promise, administrator: str, folder: Path) -> None:
    promise.keep(Trial(ROOT, administrator, folder))


@by_patch
def test_broken_build_is_caught(promise: Promise, administrator: str, folder: Path, tmp_path: Path) -> None:
    build = broken_build(tmp_path / "build", promise.broken_by)
    with pytest.raises(PromiseBrokenError, match=promise.caught_at):
        promise.keep(Trial(build, administrator, folder))


def test_every_patch_breaks_a_promise() -> None:
    assert {path.stem for path in PATCHES.glob("*.patch")} == {promise.broken_by for promise in PROMISES}


def test_patch_that_no_longer_fits_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patch = (PATCHES / "dedupe_off.patch").read_text()
    changed = [line for line in patch.splitlines() if line.startswith("-") and not line.startswith("---")]
    (tmp_path / "old.patch").write_text(patch.replace(changed[0], changed[0] + "  # as it once was"))
    monkeypatch.setattr("tests.faults.builds.PATCHES", tmp_path)
    with pytest.raises(PatchDoesNotApplyError, match=r"old\.patch doesn't fit the code any more"):
        broken_build(tmp_path / "build", "old")
