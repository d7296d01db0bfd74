"""The snippets of a page of the documentation, run in their order against a running engine."""

import os
import re
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx

from tests.running import RunningApi

ROOT = Path(__file__).parents[1]
SNIPPET = re.compile(r"^```(python|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ADDRESS = "127.0.0.1:8000"
"""Where pages say that the engine is."""

SHELL_S_MAX = 60


def pages_with_snippets() -> list[str]:
    """The pages with something to run, from the repository's root."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [str(page.relative_to(ROOT)) for page in pages if SNIPPET.search(page.read_text(encoding="utf-8"))]


def run_page(page: str, api: RunningApi, token: str, folder: Path) -> str:
    """Run a page's snippets in a folder of their own, all Python in one namespace; what its shell snippets said.

    A snippet that fails raises, and the error names the page's own line.
    """
    text = (ROOT / page).read_text(encoding="utf-8").replace(ADDRESS, api.url.removeprefix("http://"))
    names: dict[str, Any] = {"__name__": "__page__"}
    said = []
    before = Path.cwd()
    os.chdir(folder)
    try:
        for found in SNIPPET.finditer(text):
            if found[1] == "sh":
                said.append(_run_shell(found[2], token))
            else:
                # The lines before it are left empty, so that an error names the page's own line.
                line = text.count("\n", 0, found.start(2))
                exec(compile("\n" * line + found[2], page, "exec"), names)  # noqa: S102 - our own page
    finally:
        os.chdir(before)
        for value in names.values():
            if isinstance(value, httpx.Client | Generator):
                value.close()
    return "".join(said)


def _run_shell(text: str, token: str) -> str:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        env=os.environ | {"TOKEN": token, "PATH": path, "NO_PROXY": "*"},
        capture_output=True,
        text=True,
        timeout=SHELL_S_MAX,
    )
    assert done.returncode == 0, (text, done.stdout, done.stderr)
    return done.stdout
