"""The test command itself: it times areas, and it can forbid skips."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parent.parent / "reporting_plugin.py"

SUITE = """
import pytest

def test_passes():
    pass

def test_skips():
    pytest.skip("it has no broker")

@pytest.mark.xfail(reason="known")
def test_fails_as_expected():
    raise AssertionError
"""

MARKED = """
import pytest

@pytest.mark.needs_timescale
def test_skips_with_leave():
    pytest.skip("it has no TimescaleDB")
"""

WHOLE_MODULE = """
import pytest

pytest.skip("it has no Java", allow_module_level=True)
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    shutil.copy(PLUGIN, tmp_path / "reporting_plugin.py")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    needs_timescale: as in the project\n")
    for area in ("storage", "ingest"):
        (tmp_path / "tests" / area).mkdir(parents=True)
    return tmp_path


def run(suite: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "reporting_plugin", *arguments]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""}
    return subprocess.run(command, cwd=suite, env=environment, capture_output=True, text=True, timeout=60)


def test_seconds_of_each_area_stand_before_the_closing_line(suite: Path) -> None:
    (suite / "tests" / "storage" / "test_one.py").write_text(SUITE)
    (suite / "tests" / "ingest" / "test_two.py").write_text(MARKED)
    done = run(suite)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert "1 passed, 2 skipped, 1 xfailed" in lines[-1]
    assert sorted(line.split()[1] for line in lines[-3:-1]) == ["ingest", "storage"]


def test_skip_without_the_allowed_marker_fails_and_is_named(suite: Path) -> None:
    (suite / "tests" / "storage" / "test_one.py").write_text(SUITE)
    (suite / "tests" / "ingest" / "test_two.py").write_text(MARKED)
    done = run(suite, "--no-skips-but", "needs_timescale")
    assert done.returncode == 1
    assert "FAILED tests/storage/test_one.py::test_skips" in done.stdout
    assert "it has no broker" in done.stdout
    assert "1 failed, 1 passed, 1 skipped, 1 xfailed" in done.stdout.splitlines()[-1]


def test_module_that_skips_itself_fails_and_is_named(suite: Path) -> None:
    (suite / "tests" / "storage" / "test_whole.py").write_text(WHOLE_MODULE)
    done = run(suite, "--no-skips-but", "needs_timescale")
    assert done.returncode != 0
    assert "ERROR tests/storage/test_whole.py" in done.stdout
    assert "it has no Java" in done.stdout


def test_unknown_marker_is_refused(suite: Path) -> None:
    done = run(suite, "--no-skips-but", "needs_timescaledb")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "no such marker: needs_timescaledb" in done.stderr
