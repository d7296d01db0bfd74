"""Where the parts of the embedded server lie."""

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from domain.errors import DatabaseRefusedError
from storage.embedded_postgres.config import PORT

SOCKET_ADDRESS_BYTES_MAX = 107
SOCKET_NAME = f".s.PGSQL.{PORT}"
_SEPARATORS = frozenset(',"')
"""A folder with these can't be named in a connection string or in unix_socket_directories."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths below one data directory; `at` resolves it."""

    data_dir: Path

    @classmethod
    def at(cls, data_dir: Path) -> "Layout":
        return cls(data_dir.expanduser().resolve())

    @property
    def cluster(self) -> Path:
        return self.data_dir / "postgres"

    @property
    def secrets(self) -> Path:
        return self.data_dir / "secrets"

    @property
    def log(self) -> Path:
        return self.data_dir / "postgres.log"

    @property
    def record(self) -> Path:
        return self.data_dir / "server.json"

    @property
    def lock(self) -> Path:
        return self.data_dir / "lock"

    @property
    def restoring(self) -> Path:
        """Where a backup is restored; while it is there the data directory holds no installation."""
        return self.data_dir / "restoring"

    @property
    def binaries_copy(self) -> Path:
        return self.data_dir / "postgresql-18"

    @property
    def socket_dir(self) -> Path:
        """`socket/` in the data directory, or a private folder with a short path outside of it.

        Raises DatabaseRefusedError when no folder for temporary files has a short path either.
        """
        return socket_dir(self.data_dir, [Path(tempfile.gettempdir()), Path("/tmp")])  # noqa: S108 -- we make a private folder in it


def socket_dir(data_dir: Path, temporary: list[Path]) -> Path:
    """The first folder whose socket fits into a socket address.

    >>> socket_dir(Path("/srv/bpm"), [Path("/tmp")])
    PosixPath('/srv/bpm/socket')
    >>> socket_dir(Path("/srv") / ("x" * 90), [Path("/tmp")])
    PosixPath('/tmp/bpm-551f0c73098fde88')
    """
    name = "bpm-" + hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    candidates = [data_dir / "socket", *(folder / name for folder in temporary)]
    for candidate in candidates:
        address = os.fsencode(candidate / SOCKET_NAME)
        if len(address) <= SOCKET_ADDRESS_BYTES_MAX and not _SEPARATORS & set(str(candidate)):
            return candidate
    raise DatabaseRefusedError(
        f"no folder for the database's socket has a short enough path, not even {candidates[-1]}; "
        "move BPM_DATA_DIR to a shorter path",
        limit=SOCKET_ADDRESS_BYTES_MAX,
    )
