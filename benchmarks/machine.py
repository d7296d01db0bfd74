"""What the figures were measured on."""

import os
import platform
import time
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

import psutil

_FSYNCS = 100
_PAGE_BYTES = 8192
_NAMED_PACKAGES = ("numpy", "numba", "pyarrow", "psycopg", "orjson", "msgspec", "fastapi", "uvicorn")


def describe_machine(folder: Path) -> dict[str, Any]:
    """The processor, memory, disk and versions, and how busy the machine was with other things.

    folder: where the database lies, whose disk is asked for the time of an fsync.
    """
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "fsync_ms": round(_fsync_ms(folder), 2),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in _NAMED_PACKAGES},
    }


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


def _fsync_ms(folder: Path) -> float:
    """The median time to make one page durable, which bounds every commit."""
    path = folder / "fsync-probe"
    times_ms = []
    with path.open("wb") as file:
        for _ in range(_FSYNCS):
            file.write(bytes(_PAGE_BYTES))
            file.flush()
            began_s = time.perf_counter()
            os.fdatasync(file.fileno())
            times_ms.append((time.perf_counter() - began_s) * 1000)
    path.unlink()
    return median(times_ms)
