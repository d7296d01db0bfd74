"""The tutorial's day, as it is written: its snippets are run in their order against a running engine."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.running import RunningApi

PAGE = Path(__file__).parents[2] / "docs" / "tutorial" / "a-day.md"
SNIPPET = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_snippets_of_the_day_do_what_the_page_says(
    api: RunningApi, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BPM_URL", api.url)
    monkeypatch.setenv("TOKEN", api.token(api.tenant("day", register_unknown_packs=False)))
    text = PAGE.read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    try:
        for found in SNIPPET.finditer(text):
            line = text.count("\n", 0, found.start(1))
            # The lines before it are left empty, so that an error names the page's own line.
            exec(compile("\n" * line + found[1], str(PAGE), "exec"), names)  # noqa: S102 - our own page
    finally:
        if "engine" in names:
            names["engine"].close()
    assert "temperature_c" in capsys.readouterr().out
