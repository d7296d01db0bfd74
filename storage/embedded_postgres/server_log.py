"""The server's log: appended to by the server, kept below a size by us."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from storage.embedded_postgres.account import Account

LOG_BYTES_MAX = 16 * 1024 * 1024
_TAIL_BYTES = 2000


@dataclass(frozen=True, slots=True)
class ServerLog:
    """One file and its predecessor, `postgres.log.1`."""

    path: Path
    bytes_max: int = LOG_BYTES_MAX

    def open(self, account: Account) -> int:
        """A descriptor for the server. It appends, so the file can be emptied under it."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        descriptor = os.open(self.path, flags, 0o600)
        account.own(self.path)
        return descriptor

    def size_bytes(self) -> int:
        return self.path.stat().st_size

    def bound(self, account: Account) -> None:
        """Move what is written to the predecessor when the file has grown over the limit.

        Lines written during the copy may be lost; a rename instead would need the server to reopen the file.
        """
        if not self.path.exists() or self.size_bytes() <= self.bytes_max:
            return
        previous = self.path.with_name(self.path.name + ".1")
        partial = previous.with_name(previous.name + ".partial")
        partial.unlink(missing_ok=True)
        private = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with self.path.open("rb") as source, os.fdopen(private, "wb") as target:
            shutil.copyfileobj(source, target)
        account.own(partial)
        partial.replace(previous)
        os.truncate(self.path, 0)

    def tail(self, from_bytes: int) -> str:
        """The last lines since the file had that size."""
        with self.path.open("rb") as file:
            file.seek(max(from_bytes, self.size_bytes() - _TAIL_BYTES))
            return file.read().decode(errors="replace").strip()
