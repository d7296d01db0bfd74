"""Files and folders that only the server's account may read.

As root we write into folders of an account that we don't trust, so a symbolic link is never followed.
"""

import fcntl
import os
import secrets
import stat
from pathlib import Path

from domain.errors import DatabaseRefusedError
from storage.embedded_postgres.account import PRIVATE_MODE, Account
from storage.embedded_postgres.layout import Layout

_PRIVATE_FILE = 0o600


def prepare_data_dir(layout: Layout, account: Account) -> None:
    """Make the data directory and its folders, private and owned by the account.

    A parent's mode is never changed. Raises DatabaseRefusedError for a directory that the account can't
    reach, or that is in use for something else.
    """
    data_dir = layout.data_dir
    require_reachable(data_dir.parent, account, f"BPM_DATA_DIR {data_dir}", "move BPM_DATA_DIR")
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    refuse_foreign_folder(layout)
    make_private_folder(data_dir, account)
    require_reachable(data_dir, account, f"BPM_DATA_DIR {data_dir}", "move BPM_DATA_DIR")
    make_private_folder(layout.secrets, account)
    socket_dir = layout.socket_dir
    require_reachable(
        socket_dir.parent, account, f"the folder of the socket {socket_dir}", "set another TMPDIR"
    )
    make_private_folder(socket_dir, account)


def require_reachable(folder: Path, account: Account, purpose: str, remedy: str) -> None:
    """Raises DatabaseRefusedError that names the first folder on the way that the account can't enter."""
    unreachable = account.first_unreachable(folder)
    if unreachable is not None:
        raise DatabaseRefusedError(
            f"{purpose} can't be reached by the account {account.name}, which runs PostgreSQL: "
            f"it may not enter {unreachable}; {remedy}, or run the engine as another user "
            "(the modes of parent folders are yours, the engine never changes them)",
            field=str(unreachable),
        )


def refuse_foreign_folder(layout: Layout) -> None:
    """Raises DatabaseRefusedError for a folder full of other things: taking it over would lock their users out."""
    data_dir = layout.data_dir
    if not data_dir.is_dir() or layout.lock.exists() or layout.cluster.exists():
        return
    private = stat.S_IMODE(data_dir.stat().st_mode) == PRIVATE_MODE
    if not private and any(data_dir.iterdir()):
        raise DatabaseRefusedError(
            f"BPM_DATA_DIR {data_dir} holds other things and is open to others; name an empty folder, "
            f"or run chmod 0700 {data_dir} if it is meant for the engine alone"
        )


def make_private_folder(folder: Path, account: Account) -> None:
    """Make the folder 0700 and the account's. Raises DatabaseRefusedError when it is somebody else's."""
    folder.mkdir(mode=PRIVATE_MODE, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (account.uid, os.geteuid()):
        raise DatabaseRefusedError(
            f"{folder} should be a folder of the account {account.name} but belongs to somebody else; "
            "remove it, or choose another BPM_DATA_DIR"
        )
    account.own(folder)
    if stat.S_IMODE(found.st_mode) != PRIVATE_MODE:
        folder.chmod(PRIVATE_MODE)


def write_private(path: Path, text: str, account: Account) -> None:
    """Replace the file as a whole, durably: after a crash it holds the old text or the new one."""
    partial = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, _PRIVATE_FILE)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    account.own(partial)
    partial.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in the folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def kept_password(path: Path, account: Account) -> str:
    """The password in the file; a new random one is written when there is none."""
    if not path.exists():
        write_private(path, secrets.token_urlsafe(32), account)
    return path.read_text(encoding="utf-8")


def hold_lock(layout: Layout, account: Account) -> int:
    """A descriptor that holds the data directory for this process until it is closed, or the process ends.

    Raises DatabaseRefusedError that names the process which holds it.
    """
    descriptor = os.open(layout.lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, _PRIVATE_FILE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise DatabaseRefusedError(
            f"the data directory {layout.data_dir} is in use by the process {holder}; "
            "stop it first, or give this one a BPM_DATA_DIR of its own",
            holder_pid=holder,
        ) from error
    account.own(layout.lock)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor
