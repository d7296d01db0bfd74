"""The parts of the embedded server that decide without one."""

import os
import tempfile
from pathlib import Path

import pytest

from domain.errors import DatabaseRefusedError
from storage.embedded_postgres.account import Account
from storage.embedded_postgres.layout import SOCKET_ADDRESS_BYTES_MAX, SOCKET_NAME, socket_dir
from storage.embedded_postgres.progress import Effort, StallWatch
from storage.embedded_postgres.server_log import ServerLog
from storage.embedded_postgres.tuning import Machine, cgroup_limits, fitted

TEMPORARY = Path("/temporary")
ME = Account("me", os.geteuid(), os.getegid(), switched=False)


def test_a_socket_address_of_exactly_the_limit_stays_in_the_data_directory():
    rest = len("/socket/" + SOCKET_NAME)
    fits = Path("/" + "x" * (SOCKET_ADDRESS_BYTES_MAX - rest - 1))
    assert socket_dir(fits, [TEMPORARY]) == fits / "socket"
    longer = Path(str(fits) + "x")
    assert socket_dir(longer, [TEMPORARY]).parent == TEMPORARY


def test_a_comma_in_the_path_moves_the_socket_since_it_separates_hosts():
    assert socket_dir(Path("/srv/a,b"), [TEMPORARY]).parent == TEMPORARY


def test_two_long_paths_get_two_socket_folders():
    long = Path("/" + "x" * 200)
    assert socket_dir(long / "a", [TEMPORARY]) != socket_dir(long / "b", [TEMPORARY])


def test_without_any_short_path_the_start_is_refused():
    with pytest.raises(DatabaseRefusedError, match="short enough path"):
        socket_dir(Path("/" + "x" * 200), [Path("/" + "y" * 200)])


@pytest.mark.parametrize("memory_mb", [256, 1024, 8192, 1_000_000])
def test_memory_settings_leave_most_of_the_machine_to_the_engine(memory_mb):
    settings = fitted(Machine(memory_mb, disk_free_mb=50_000, shared_memory_mb=4096))
    assert int(settings["shared_buffers"].removesuffix("MB")) <= max(memory_mb // 4, 32)
    assert int(settings["maintenance_work_mem"].removesuffix("MB")) <= max(memory_mb // 8, 32)


def test_a_small_disk_gets_little_log():
    assert fitted(Machine(8192, disk_free_mb=1000, shared_memory_mb=4096))["max_wal_size"] == "256MB"


@pytest.mark.parametrize(
    ("membership", "files", "limits"),
    [
        ("0::/app/web\n", {"app/memory.max": "500", "app/web/memory.max": "max"}, [500]),
        ("0::/\n", {"memory.max": "700"}, [700]),
        ("4:memory:/box\n0::/\n", {"memory/box/memory.limit_in_bytes": "300"}, [300]),
        ("3:cpu:/\n", {"memory.max": "100"}, []),
    ],
    ids=["v2, of the parent", "v2, of a container", "v1", "no memory controller"],
)
def test_the_memory_limit_of_the_cgroup_counts(tmp_path, membership, files, limits):
    (tmp_path / "membership").write_text(membership)
    for name, text in files.items():
        (tmp_path / "mount" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mount" / name).write_text(text + "\n")
    assert cgroup_limits(tmp_path / "mount", tmp_path / "membership") == limits


@pytest.mark.parametrize(
    "moved",
    [Effort(cpu_s=0.5), Effort(io_bytes=1), Effort(log_bytes=1), Effort(titles=frozenset({"startup 2"}))],
    ids=["cpu", "io", "log", "title"],
)
def test_any_work_of_a_starting_server_is_progress(moved):
    watch = StallWatch(stall_s_max=10)
    assert not watch.has_stalled(Effort(), now_s=0)
    assert not watch.has_stalled(moved, now_s=9)
    assert not watch.has_stalled(moved, now_s=19)
    assert watch.has_stalled(moved, now_s=20)


def test_waking_up_now_and_then_is_no_progress():
    watch = StallWatch(stall_s_max=10)
    assert not watch.has_stalled(Effort(cpu_s=1.0), now_s=0)
    assert watch.has_stalled(Effort(cpu_s=1.01), now_s=11)


def test_the_log_is_emptied_under_the_server_and_its_lines_are_kept_once(tmp_path):
    log = ServerLog(tmp_path / "postgres.log", bytes_max=10)
    descriptor = log.open(ME)
    try:
        os.write(descriptor, b"0123456789\n")
        log.bound(ME)
        os.write(descriptor, b"next\n")
        log.bound(ME)
    finally:
        os.close(descriptor)
    assert (tmp_path / "postgres.log.1").read_text() == "0123456789\n"
    assert (tmp_path / "postgres.log").read_text() == "next\n"
    assert log.tail(from_bytes=0) == "next"


def test_a_symbolic_link_in_the_place_of_the_log_is_not_followed(tmp_path):
    (tmp_path / "victim").write_text("untouched")
    (tmp_path / "postgres.log").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic links"):
        ServerLog(tmp_path / "postgres.log").open(ME)


def test_folders_that_do_not_exist_yet_are_in_reach():
    assert ME.first_unreachable(Path(tempfile.gettempdir()) / "not" / "yet") is None
