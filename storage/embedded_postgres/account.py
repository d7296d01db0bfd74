"""Under which account the server runs, and what that account can reach.

initdb and postgres refuse to run as root. When the engine runs as root they run as an account without rights.
"""

import errno
import os
import pwd
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from domain.errors import DatabaseRefusedError

UNPRIVILEGED_ACCOUNTS = ("postgres", "nobody")
PRIVATE_MODE = 0o700

_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
"""The whole environment of the server: PGPORT and the like would change its settings."""

_ENTER_EACH = 'for folder do cd "$folder" 2>/dev/null || { printf %s "$folder"; exit 1; }; done'


@dataclass(frozen=True, slots=True)
class Account:
    """Who runs the server; `switched` when that isn't the account of the engine itself."""

    name: str
    uid: int
    gid: int
    switched: bool

    def own(self, path: Path) -> None:
        """Give the file or folder to the account; nothing happens when the engine runs as it."""
        if self.switched:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def start(self, command: Sequence[str | Path], output: int) -> subprocess.Popen[bytes]:
        """The command as a direct child process, which inherits no descriptor but `output`.

        It gets a session of its own, so that a Ctrl-C in the terminal reaches the engine and not the server,
        and works from the root folder, since the account may not reach ours.
        """
        try:
            return subprocess.Popen(  # noqa: S603 -- the commands are ours
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                close_fds=True,
                cwd="/",
                env=_ENVIRONMENT,
                umask=0o077,
                start_new_session=True,
                user=self.uid if self.switched else None,
                group=self.gid if self.switched else None,
                extra_groups=[] if self.switched else None,
            )
        except PermissionError as error:
            if self.switched and error.errno == errno.EPERM:
                raise DatabaseRefusedError(
                    f"root may not become the account {self.name} here, and PostgreSQL never runs as root; "
                    "give the container the rights SETUID and SETGID, or run the engine as another user"
                ) from error
            raise

    def run(self, command: Sequence[str | Path]) -> tuple[int, str]:
        """Exit code and output of a command that ends by itself."""
        process = self.start(command, subprocess.PIPE)
        try:
            output, _ = process.communicate()
        except BaseException:
            process.kill()
            process.wait()
            raise
        return process.returncode, os.fsdecode(output)

    def first_unreachable(self, folder: Path) -> Path | None:
        """The first folder on the way to `folder`, itself included, that the account can't enter.

        The kernel answers, so access lists count too. Folders that don't exist yet are left out.
        """
        way = [part for part in (*reversed(folder.parents), folder) if _exists(part)]
        code, named = self.run(["/bin/sh", "-c", _ENTER_EACH, "sh", *way])
        return None if code == 0 else Path(named)


def choose_account(data_dir: Path, cluster: Path, run_as: str | None) -> Account:
    """The account that runs the server.

    Raises DatabaseRefusedError when there is none, when it is root, or when the data belongs to another.
    """
    owner_uid = _owner_uid(cluster) if _exists(cluster) else _owner_uid(data_dir)
    account = _as_root(data_dir, owner_uid, run_as) if os.geteuid() == 0 else _as_user(run_as)
    if owner_uid not in (None, account.uid) and not (account.switched and owner_uid == 0):
        raise DatabaseRefusedError(
            f"the data directory {data_dir} belongs to {_name_of(owner_uid)}, not to {account.name}; "
            f"run the engine as its owner, give all of it to {account.name}, or choose another BPM_DATA_DIR"
        )
    return account


def _as_user(run_as: str | None) -> Account:
    uid = os.geteuid()
    name = _name_of(uid)
    if run_as is not None and run_as != name:
        raise DatabaseRefusedError(
            f"only root can run the database as {run_as}; this is {name}: name no account, or start as root"
        )
    return Account(name, uid, os.getegid(), switched=False)


def _as_root(data_dir: Path, owner_uid: int | None, run_as: str | None) -> Account:
    if run_as is not None:
        names: tuple[str, ...] = (run_as,)
    elif owner_uid:
        names = (_name_of(owner_uid),)
    else:
        names = UNPRIVILEGED_ACCOUNTS
    for name in names:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid == 0:
            raise DatabaseRefusedError(
                f"PostgreSQL refuses to run as root, so {name} can't run it; name another account"
            )
        return Account(name, entry.pw_uid, entry.pw_gid, switched=True)
    raise DatabaseRefusedError(
        f"PostgreSQL refuses to run as root, and there is no account {' or '.join(names)} for {data_dir}; "
        "create one, or run the engine as another user"
    )


def _name_of(uid: int | None) -> str:
    try:
        return pwd.getpwuid(uid or 0).pw_name
    except KeyError:
        return f"the account number {uid}"


def _owner_uid(path: Path) -> int | None:
    try:
        return path.stat().st_uid
    except OSError:
        return None


def _exists(path: Path) -> bool:
    """False also for what can't be seen, where Path.exists raises."""
    return _owner_uid(path) is not None
