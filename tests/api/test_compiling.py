"""The kernels are compiled side by side, and anew when any of their files has changed."""

import ast
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from api.compiling import GROUPS

ROOT = Path(__file__).resolve().parents[2]
KERNELS = ROOT / "kernels"

TWICE = """
from pathlib import Path
import kernels
from api.compiling import are_compiled, compile_kernels

(folder,) = map(Path, kernels.__path__)
jsontext, holders = ["jsontext"], ["holders"]

def compiled():
    return {path.name.split(".")[0]: path.stat().st_mtime_ns for path in folder.rglob("*.nbi")}

assert not are_compiled()
compile_kernels([jsontext, holders])
assert are_compiled()
first = compiled()
assert set(first) == {"jsontext", "holders"}
compile_kernels([jsontext, holders])
assert compiled() == first
with (folder / "lines.py").open("a") as text:
    text.write("# A helper that is another one now.")
assert not are_compiled()
compile_kernels([jsontext])
second = compiled()
assert are_compiled()
assert set(second) == {"jsontext"}
assert second["jsontext"] > first["jsontext"]
with (folder / "jsontext.py").open("a") as text:
    text.write("not python")
compile_kernels([jsontext])
assert not are_compiled()
"""


def test_kernels_are_compiled_once_and_anew_when_another_file_of_theirs_has_changed(tmp_path: Path) -> None:
    shutil.copytree(KERNELS, tmp_path / "kernels", ignore=shutil.ignore_patterns("__pycache__"))
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    environment["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{ROOT}"
    done = subprocess.run(
        [sys.executable, "-P", "-c", TWICE], env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr


@cache
def imported(name: str) -> frozenset[str]:
    """A module of `kernels`, and those that it imports."""
    found = {name}
    for node in ast.walk(ast.parse((KERNELS / f"{name}.py").read_text())):
        if (
            isinstance(node, ast.ImportFrom)
            and node.module is not None
            and node.module.startswith("kernels.")
        ):
            found |= imported(node.module.removeprefix("kernels."))
    return frozenset(found)


def test_each_kernel_is_compiled_by_one_group() -> None:
    with_kernels = {path.stem for path in KERNELS.glob("*.py") if "@njit" in path.read_text()}
    groups = [frozenset().union(*map(imported, group)) & with_kernels for group in GROUPS]
    assert sorted(name for group in groups for name in group) == sorted(with_kernels)
