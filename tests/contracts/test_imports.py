"""Who may import whom, held by the checker and by a look at the sources."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("domain", "kernels", "aggregations", "streams", "ingest", "storage", "api")
COLUMNS = frozenset({"numpy", "pyarrow"})

HOUSE = "The house: who may import whom"
CORE = "The core knows no input or output"
ROUTES = "Routes reach the store through their service"


def foreign_imports(source: str) -> set[str]:
    """Top-level names that a module of domain imports from outside the standard library and domain itself."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
            names.add(node.module.partition(".")[0])
    return names - sys.stdlib_module_names - {"domain"}


@pytest.mark.parametrize("path", sorted((ROOT / "domain").rglob("*.py")), ids=lambda path: path.name)
def test_domain_imports_the_standard_library_and_columns_for_readings_alone(path: Path) -> None:
    allowed = COLUMNS if path == ROOT / "domain" / "readings.py" else frozenset()
    assert foreign_imports(path.read_text(encoding="utf-8")) <= allowed


def test_foreign_imports_are_seen_wherever_they_stand() -> None:
    source = "import json\nfrom domain.errors import BpmError\ndef late():\n    import numpy.typing\n    from can import Bus\n"
    assert foreign_imports(source) == {"numpy", "can"}


def lint_imports(tree: Path) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command as c; c()",
        "--no-cache",
    ]
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONIOENCODING": "utf-8", "COLUMNS": "200"}
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, timeout=120)


def test_import_contracts_hold() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout
    assert all(f"{name} KEPT" in done.stdout for name in (HOUSE, CORE, ROUTES))


WRONG_IMPORTS = [
    ("domain/wrong.py", "import storage", HOUSE),
    ("domain/wrong.py", "import kernels", HOUSE),
    ("kernels/wrong.py", "import domain", HOUSE),
    ("streams/wrong.py", "import storage", HOUSE),
    ("storage/wrong.py", "import ingest", HOUSE),
    ("ingest/wrong.py", "import api", HOUSE),
    ("domain/wrong.py", "import asyncio", CORE),
    ("kernels/wrong.py", "import psycopg", CORE),
    ("aggregations/wrong.py", "import subprocess", CORE),
    ("api/wrong/routes.py", "import storage", ROUTES),
]


@pytest.mark.parametrize(("file", "line", "contract"), WRONG_IMPORTS)
def test_wrong_import_breaks_its_contract(tmp_path: Path, file: str, line: str, contract: str) -> None:
    """In a tree of empty packages, so that nothing but the line can break a contract."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in (*PACKAGES, "api/wrong"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    (tmp_path / file).write_text(line + "\n")
    done = lint_imports(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"{contract} BROKEN" in done.stdout
