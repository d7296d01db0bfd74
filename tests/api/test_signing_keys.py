"""Keys that sign access tokens: private files, two published, and a rotation that ends nobody's session."""

import json
import os
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from api.auth import make_verifier
from api.cli.main import app
from api.identity.issuing import Bearer, Issuer
from api.identity.keys import KNOWN_AFTER_S, open_key_ring, rotate
from api.settings import Environment, Settings
from domain.errors import ConflictError, SettingsRefusedError, UnauthenticatedError

LIFE_S = 600
BEGIN_MS = 1_800_000_000_000


def after(seconds: float) -> int:
    return BEGIN_MS + int(seconds * 1000)


def turn(folder: Path, seconds: float, *, forget: bool = False) -> str:
    return rotate(folder, after(seconds), settle_s=LIFE_S, forget=forget).key_id


def test_first_key_is_made_for_its_owner_alone_and_stays(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    first = open_key_ring(folder, BEGIN_MS).signing(BEGIN_MS)
    assert open_key_ring(folder, after(1)).signing(after(1)).key_id == first.key_id
    (file,) = folder.iterdir()
    assert (folder.stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)


def test_new_key_is_published_at_once_and_signs_when_all_know_it(tmp_path: Path) -> None:
    ring = open_key_ring(tmp_path, BEGIN_MS)
    old = ring.signing(BEGIN_MS).key_id
    new = turn(tmp_path, 1000)
    ring.read()
    assert [key["kid"] for key in ring.key_set()["keys"]] == [new, old]
    assert ring.signing(after(1000 + KNOWN_AFTER_S - 1)).key_id == old
    assert ring.signing(after(1000 + KNOWN_AFTER_S)).key_id == new


def test_two_keys_are_published_and_the_oldest_goes(tmp_path: Path) -> None:
    ring = open_key_ring(tmp_path, BEGIN_MS)
    second, third = turn(tmp_path, 1000), turn(tmp_path, 2000)
    ring.read()
    assert [key["kid"] for key in ring.key_set()["keys"]] == [third, second]


def test_rotation_that_would_end_living_tokens_is_refused_unless_they_are_to_end(tmp_path: Path) -> None:
    ring = open_key_ring(tmp_path, BEGIN_MS)
    turn(tmp_path, 1)
    with pytest.raises(ConflictError, match="--forget"):
        turn(tmp_path, 1 + LIFE_S + KNOWN_AFTER_S - 1)
    third = turn(tmp_path, 1 + LIFE_S + KNOWN_AFTER_S)
    assert len(list(tmp_path.iterdir())) == 2
    fourth = turn(tmp_path, 1 + LIFE_S + KNOWN_AFTER_S, forget=True)
    ring.read()
    assert [key["kid"] for key in ring.key_set()["keys"]] == [fourth]
    assert ring.signing(BEGIN_MS).key_id == fourth != third


def test_tokens_of_the_former_key_hold_and_those_of_a_forgotten_one_end(tmp_path: Path) -> None:
    folder, now_ms = tmp_path / "signing-keys", time.time_ns() // 1_000_000
    ring = open_key_ring(folder, now_ms)
    verifier = make_verifier(Settings(env=Environment.PRODUCTION, data_dir=tmp_path), time.time, ring)
    token, _ = Issuer(ring, "bpm", "bpm", LIFE_S, time.time).issue(
        Bearer("acme", "user:1", ["analyst"], None, 0)
    )
    assert verifier.verify(token).subject == "user:1"
    rotate(folder, now_ms + 1, settle_s=LIFE_S, forget=False)
    ring.read()
    assert verifier.verify(token).subject == "user:1"
    rotate(folder, now_ms + 2, settle_s=LIFE_S, forget=True)
    ring.read()
    with pytest.raises(UnauthenticatedError):
        verifier.verify(token)


def test_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    open_key_ring(tmp_path, BEGIN_MS)
    (file,) = tmp_path.iterdir()
    file.chmod(0o640)
    with pytest.raises(SettingsRefusedError, match="chmod 600"):
        open_key_ring(tmp_path, BEGIN_MS)


@pytest.mark.parametrize("content", ["", "no key", "-----BEGIN PRIVATE KEY-----\n"])
def test_file_that_is_no_key_is_refused_by_name(tmp_path: Path, content: str) -> None:
    file = tmp_path / f"{BEGIN_MS}-0123abcd.pem"
    file.write_text(content)
    file.chmod(0o600)
    with pytest.raises(SettingsRefusedError, match=file.name):
        open_key_ring(tmp_path, BEGIN_MS)


def test_other_files_in_the_folder_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "README").write_text("keys")
    os.mkfifo(tmp_path / "pipe.pem")
    assert len(open_key_ring(tmp_path, BEGIN_MS).key_set()["keys"]) == 1


def test_key_is_rotated_by_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BPM_DATA_DIR", str(tmp_path))
    first, second = (
        json.loads(CliRunner().invoke(app, ["key", "rotate", "--json"]).stdout)["kid"] for _ in range(2)
    )
    refused = CliRunner().invoke(app, ["key", "rotate"])
    assert isinstance(refused.exception, ConflictError)
    published = [key["kid"] for key in open_key_ring(tmp_path / "signing-keys", BEGIN_MS).key_set()["keys"]]
    assert published == [second, first]
