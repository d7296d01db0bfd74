"""Settings of the server: what keeps the promises, and what is fitted to the machine."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import psutil

_MB = 1024 * 1024
_SHARED_MEMORY_MB_MIN = 256

FIXED = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    # The wheel has no lz4, and pglz saves a sixth of the log of a bulk load for two to three times its time.
    "wal_compression": "off",
    "wal_buffers": "16MB",
    "checkpoint_timeout": "15min",
    "checkpoint_completion_target": "0.9",
    # Ready means: accepts writing. Without this a server under recovery may accept readers only.
    "hot_standby": "off",
    "jit": "off",
}

NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}
"""For data that nobody keeps. Only the command line can say so: it goes before `ALTER SYSTEM`."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What the server may use: memory within the cgroup's limit, free disk, and the size of /dev/shm."""

    memory_mb: int
    disk_free_mb: int
    shared_memory_mb: int


def fitted(machine: Machine, shared_buffers_mb: int | None = None) -> dict[str, str]:
    """Settings that follow from the machine, which the server shares with the engine.

    >>> fitted(Machine(8192, 100_000, 4096))["shared_buffers"]
    '2048MB'
    >>> fitted(Machine(512, 1000, 64))["dynamic_shared_memory_type"]
    'mmap'
    """
    memory_mb = machine.memory_mb
    buffers_mb = _between(32, memory_mb // 4, 4096) if shared_buffers_mb is None else shared_buffers_mb
    wal_mb = _between(256, machine.disk_free_mb // 10, 8192)
    # Containers often get 64 MB of /dev/shm, where parallel queries would fail; files always work.
    roomy = machine.shared_memory_mb >= _SHARED_MEMORY_MB_MIN
    return {
        "shared_buffers": f"{buffers_mb}MB",
        "effective_cache_size": f"{max(memory_mb // 2, buffers_mb)}MB",
        "work_mem": f"{_between(4, memory_mb // 256, 64)}MB",
        "maintenance_work_mem": f"{_between(32, memory_mb // 16, 512)}MB",
        "max_wal_size": f"{wal_mb}MB",
        "min_wal_size": f"{_between(80, wal_mb // 4, 1024)}MB",
        "dynamic_shared_memory_type": "posix" if roomy else "mmap",
    }


def measure_machine(data_dir: Path) -> Machine:
    """The machine as this process may use it."""
    memory = psutil.virtual_memory().total
    limits = cgroup_limits(Path("/sys/fs/cgroup"), Path("/proc/self/cgroup"))
    try:
        shared = os.statvfs("/dev/shm")  # noqa: S108 -- only its size is read
        shared_mb = shared.f_blocks * shared.f_frsize // _MB
    except OSError:
        shared_mb = 0
    return Machine(min([memory, *limits]) // _MB, shutil.disk_usage(data_dir).free // _MB, shared_mb)


def cgroup_limits(mount: Path, membership: Path) -> list[int]:
    """Memory limits in bytes that hold for the process, of its cgroup and of those around it, v1 or v2."""
    limits = []
    for line in _text(membership).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        name = "memory.limit_in_bytes" if controllers else "memory.max"
        root = mount / controllers
        group = root / path.lstrip("/")
        for level in (group, *group.parents):
            value = _text(level / name).strip()
            if value.isdigit():
                limits.append(int(value))
            if level == root:
                break
    return limits


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _between(low: int, value: int, high: int) -> int:
    return max(low, min(value, high))
