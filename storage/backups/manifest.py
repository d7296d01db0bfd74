"""What a backup holds: written last, so that a directory without it is no backup."""

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, Final

from domain.errors import BackupRefusedError
from storage.embedded_postgres.private_files import sync_folder
from storage.operation import Position

FORMAT: Final = 1
DATA: Final = "data"
"""The folder of a backup that has the layout of a data directory."""

_NAME: Final = "manifest.json"
_BLOCK_BYTES: Final = 1 << 20
_PRIVATE_FILE: Final = 0o600


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a backup. path: below DATA, with slashes. sha256: hexadecimal."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """A whole backup.

    position: what was committed when it began; all of that is in it, and maybe more. folders: those below DATA,
    empty ones too.
    """

    made_at: datetime
    engine_version: str
    postgres_version: str
    position: Position
    folders: tuple[str, ...]
    files: tuple[StoredFile, ...]

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    @property
    def postgres_major(self) -> int:
        return int(self.postgres_version.partition(".")[0])


def write_manifest(backup: Path, manifest: Manifest) -> None:
    """Make the directory a backup, durably: after a crash it is one as a whole, or not at all."""
    content = asdict(manifest) | {
        "format": FORMAT,
        "made_at": manifest.made_at.isoformat(),
        "position": position_json(manifest.position),
    }
    text = json.dumps(content | {"digest": _digest(content)}, indent=1)
    partial = backup / f"{_NAME}.partial"
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, _PRIVATE_FILE)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(backup / _NAME)
    sync_folder(backup)


def read_manifest(backup: Path) -> Manifest:
    """What a backup holds. Raises BackupRefusedError for what is no whole backup, or of an unknown format."""
    try:
        content = json.loads((backup / _NAME).read_text(encoding="utf-8"))
        if content.pop("digest") != _digest(content):
            raise BackupRefusedError(f"{backup / _NAME} was changed after the backup had been made")
        if content["format"] != FORMAT:
            raise BackupRefusedError(
                f"the backup {backup} has the format {content['format']}, this version reads {FORMAT}; "
                "use the version of the engine that made it"
            )
        for path in (*content["folders"], *(file["path"] for file in content["files"])):
            _require_below(backup, path)
        return Manifest(
            datetime.fromisoformat(content["made_at"]),
            content["engine_version"],
            content["postgres_version"],
            _position(content["position"]),
            tuple(content["folders"]),
            tuple(StoredFile(**file) for file in content["files"]),
        )
    except FileNotFoundError as error:
        raise BackupRefusedError(
            f"{backup} is no whole backup, it has no {_NAME}: one that was broken off is worth nothing"
        ) from error
    except KeyError as error:
        raise BackupRefusedError(
            f"{backup / _NAME} isn't what bpm backup writes: it lacks {error}"
        ) from error
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise BackupRefusedError(f"{backup / _NAME} can't be read: {error}") from error


def _require_below(backup: Path, path: str) -> None:
    """Refuse a path that leads out of the folder it is below: restoring would write, and clear, there."""
    parts = PurePosixPath(path).parts
    if not parts or PurePosixPath(path).is_absolute() or ".." in parts:
        raise BackupRefusedError(f"{backup / _NAME} names {path!r}, which doesn't lie in the backup")


def position_json(position: Position) -> dict[str, Any]:
    """A position as JSON has it."""
    arrived_at = position.arrived_at
    return asdict(position) | {"arrived_at": None if arrived_at is None else arrived_at.isoformat()}


def _position(content: dict[str, Any]) -> Position:
    arrived_at = content["arrived_at"]
    return Position(
        content["installation"],
        {int(number): int(next_) for number, next_ in content["next"].items()},
        content["batch_no"],
        None if arrived_at is None else datetime.fromisoformat(arrived_at),
        content["migration"],
    )


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_in_blocks(path: Path) -> Iterator[bytes]:
    """A regular file's bytes; a symbolic link is not followed. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(f"{path} is no regular file")
        while block := file.read(_BLOCK_BYTES):
            yield block


def stored_file(folder: Path, path: str) -> StoredFile:
    """A file as it lies on the disk now."""
    digest, size_bytes = hashlib.sha256(), 0
    for block in read_in_blocks(folder / path):
        digest.update(block)
        size_bytes += len(block)
    return StoredFile(path, size_bytes, digest.hexdigest())


def tree(folder: Path) -> tuple[list[str], list[str]]:
    """Folders and files below a folder, in order, as paths with slashes."""
    folders, files = [], []
    for parent, names, leaves in os.walk(folder):
        below = Path(parent).relative_to(folder)
        folders += [(below / name).as_posix() for name in names]
        files += [(below / leaf).as_posix() for leaf in leaves]
    return sorted(folders), sorted(files)
