"""Copies of the packages: as they are, so that edits don't reach a long run, or broken by a patch."""

import os
import shutil
import subprocess
import tomllib
from pathlib import Path

from tests.faults.engine_process import ROOT

PATCHES = Path(__file__).parent / "patches"


class PatchDoesNotApplyError(Exception):
    """A patch that breaks a promise does not fit the code any more; it must be made anew."""


def copy_of_packages(folder: Path) -> Path:
    """The folder with a copy of every package, and of the tests' own modules.

    What Numba compiled is copied too, with the times of the files, so that nothing is compiled again.
    """
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for package in settings["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        shutil.copytree(ROOT / package, folder / package)
    shutil.copytree(ROOT / "tests" / "faults", folder / "tests" / "faults")
    shutil.copy2(ROOT / "tests" / "running.py", folder / "tests")
    return folder


def broken_build(folder: Path, patch: str) -> Path:
    """A copy of the packages with a patch of `patches` applied. Raises PatchDoesNotApplyError."""
    copy_of_packages(folder)
    applied = subprocess.run(
        ["git", "apply", "--verbose", PATCHES / f"{patch}.patch"],
        cwd=folder,
        # Without this, git would take the paths from the top of a repository around the folder.
        env=os.environ | {"GIT_CEILING_DIRECTORIES": str(folder.parent)},
        capture_output=True,
        text=True,
    )
    if applied.returncode != 0:
        raise PatchDoesNotApplyError(
            f"{patch}.patch doesn't fit the code any more: make the same change by hand and write the patch "
            f"again with git diff -U1\n{applied.stderr}"
        )
    return folder
