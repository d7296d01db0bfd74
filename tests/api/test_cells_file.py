"""The file that names other cells."""

from pathlib import Path

import pytest

from api.moving import read_cells
from domain.errors import SettingsRefusedError


def test_cells_are_read_by_their_names(tmp_path: Path) -> None:
    path = tmp_path / "cells.toml"
    path.write_text('[cells.north]\nurl = "https://north"\ndatabase_url = "postgresql://north/bpm"\n')
    assert [(cell.name, cell.url) for cell in read_cells(path).values()] == [("north", "https://north")]


@pytest.mark.parametrize(
    "text", ["[cells.north]\nurl = 'x'\n", "cells = 3", "geheim", "", "[cells]\nnorth = 1\n"]
)
def test_file_that_names_none_is_refused_without_a_word_of_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "cells.toml"
    path.write_text(text)
    with pytest.raises(SettingsRefusedError) as refused:
        read_cells(path)
    assert "geheim" not in refused.value.detail


def test_no_file_is_refused(tmp_path: Path) -> None:
    for path in (None, tmp_path / "missing.toml"):
        with pytest.raises(SettingsRefusedError):
            read_cells(path)
