"""The kernels, compiled side by side before the engine is imported: `python -m api.compiling`.

Numba compiles a kernel as its module is imported, one after the other, and keeps it until the text of its own module
changes. Here several processes compile at once, and all is compiled again when any of the modules has changed.
"""

import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

GROUPS: Final = (
    ("filling",),
    ("rules",),
    ("sketch",),
    (
        "sketch_merge",
        "battery",
        "csvtext",
        "downsample",
        "holders",
        "jsontext",
        "latest",
        "pgcopy",
        "scaling",
        "touched",
    ),
    ("identity",),
)
"""Modules with kernels that no other group imports, the long ones first. Together they import all the others."""

_KEPT_PATTERNS: Final = ("*.nbi", "*.nbc")
_MARK: Final = "kernels.compiled"


def are_compiled() -> bool:
    """True when all kernels stand compiled, as they are written, for this processor."""
    try:
        return (_kept() / _MARK).read_text(encoding="ascii") == _version()
    except FileNotFoundError:
        return False


def compile_kernels(groups: Sequence[Sequence[str]] = GROUPS) -> None:
    """Compile them in as many processes as there are cores, unless that is done; what fails is left to the import."""
    if are_compiled():
        return
    kept = _kept()
    for path in [path for pattern in _KEPT_PATTERNS for path in kept.glob(pattern)]:
        path.unlink(missing_ok=True)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        done = list(pool.map(_compile, groups))
    if all(done):
        (kept / _MARK).write_text(_version(), encoding="ascii")


def _compile(group: Sequence[str]) -> bool:
    """Import these modules in a process of its own; True when that went well."""
    import kernels

    (folder,) = kernels.__path__
    names = ", ".join(f"kernels.{name}" for name in group)
    environment = os.environ | {"PYTHONPATH": str(Path(folder).parent)}
    command = [sys.executable, "-P", "-c", f"import {names}"]
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0  # noqa: S603


def _kept() -> Path:
    """Where Numba keeps what it has compiled. Raises RuntimeError when it can keep it nowhere."""
    from kernels.scaling import scale_into

    return Path(str(scale_into.stats.cache_path))


def _version() -> str:
    """What is compiled, by what, and for which processor."""
    import llvmlite.binding
    import numba

    import kernels

    (folder,) = kernels.__path__
    text = hashlib.sha256(f"{numba.__version__} {llvmlite.binding.get_host_cpu_name()}".encode())
    for path in sorted(Path(folder).glob("*.py")):
        text.update(path.name.encode() + path.read_bytes())
    return text.hexdigest()


if __name__ == "__main__":
    compile_kernels()
