"""What `bpm replay` answers to wrong usage and to files that can't be used, before anything is sent."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from api.cli.main import app
from domain.errors import DecodeError

MAP = "measures: {voltage_v: {message: 0x100, bits: {start: 0, length: 8, byte_order: little}}}\n"
NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "map.yaml").write_text(MAP)
    (tmp_path / "bad.yaml").write_text("measures: {volts: {message: A, signal: B}}")
    (tmp_path / "undated.log").write_text("(1.0) can0 100#01\n")
    (tmp_path / "timeless.txt").write_text("  can0  100   [1]  01\n")
    (tmp_path / "other.log").write_text("(1632426782.4) can0 200#01\n")
    (tmp_path / "letter.txt").write_text("Dear Sir or Madam\n")
    (tmp_path / "bad.dbc").write_text("BO_ rubbish")
    return tmp_path


def bpm_replay(folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    monkeypatch.chdir(folder)
    given = ["replay", "--pack", "P-1", "--token", "x", "--url", NOBODY, *arguments]
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, given)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["other.log"], "--map"),
        (["--map", "map.yaml"], "either recorded logs or --series"),
        (["--map", "absent.yaml", "other.log"], "absent.yaml"),
        (["--map", "map.yaml", "absent.log"], "absent.log"),
        (["--map", "map.yaml", "undated.log"], "--start"),
        (["--map", "map.yaml", "timeless.txt", "--start", "2026-01-01T00:00:00Z"], "--rate"),
        (["--map", "map.yaml", "undated.log", "--start", "2026-01-01T00:00:00"], "no offset"),
        (["--map", "map.yaml", "undated.log", "--start", "yesterday"], "no RFC 3339 time"),
        (["--map", "map.yaml", "undated.log", "--at", "then"], "then"),
        (["--map", "map.yaml", "other.log", "--batch", "200001"], "--batch"),
    ],
)
def test_wrong_usage_ends_with_2_and_names_the_option(folder, monkeypatch, arguments, words):
    answer = bpm_replay(folder, monkeypatch, *arguments)
    assert answer.exit_code == 2, answer.output
    assert words in " ".join(answer.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--map", "bad.yaml", "other.log"], "volts is no measure"),
        (["--map", "map.yaml", "letter.txt"], "letter.txt"),
        (["--map", "map.yaml", "other.log", "--dbc", "bad.dbc"], "bad.dbc"),
    ],
)
def test_file_that_cannot_be_used_is_refused_by_name(folder, monkeypatch, arguments, words):
    answer = bpm_replay(folder, monkeypatch, *arguments)
    assert isinstance(answer.exception, DecodeError)
    assert words in str(answer.exception)


def test_refused_file_ends_the_program_with_3_and_a_sentence(folder):
    program = "import sys; from api.cli.main import main; sys.argv[0] = 'bpm'; main()"
    given = ["replay", "--pack", "P-1", "--token", "x", "--url", NOBODY, "--map", "map.yaml", "letter.txt"]
    answer = subprocess.run(
        [sys.executable, "-c", program, *given], cwd=folder, capture_output=True, text=True
    )
    assert answer.returncode == 3, answer.stderr
    assert "letter.txt is no recording of a known format" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_log_without_a_mapped_frame_is_done_and_nothing_was_sent(folder, monkeypatch):
    answer = bpm_replay(folder, monkeypatch, "--map", "map.yaml", "other.log", "--json")
    assert answer.exit_code == 0, answer.output
    assert '"not_mapped": 1' in answer.stdout
