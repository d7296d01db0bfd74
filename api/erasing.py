"""Tenants that are erased, the proof of it, and backups from before."""

from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import orjson
from psycopg.rows import dict_row

from api.database_access import DatabaseAccess
from domain.errors import InvalidRequestError
from storage.connections import connect
from storage.database import ERASER_ROLE, conninfo_as
from storage.erasing import Erasure, erase, rows_left, still_there
from storage.erasing_slices import Told
from storage.migrate import migrate

LIST: Final = "erasures"
"""The folder of proofs in the data directory: the list of what must not come back with a backup."""

_LOCK_S_MAX: Final = 30.0


def erase_tenant(
    access: DatabaseAccess, name: str, by: str, told: Told, *, rows_max: int, now: bool
) -> Erasure:
    """Erase a deleted tenant whose grace is over, or at once. Raises what `storage.erasing.erase` does.

    rows_max: deleted by one transaction. Messages of it that no worker has come to yet are passed over.
    """
    return erase(_as_eraser(access.admin), name, by, told, rows_max=rows_max, now=now)


def _as_eraser(admin: str) -> str:
    return conninfo_as(admin, ERASER_ROLE, application="bpm erase", lock_timeout_s=_LOCK_S_MAX)


def write_proof(access: DatabaseAccess, done: Erasure, paths: Iterable[Path]) -> dict[str, Any]:
    """The proof, written to each of the paths: what was erased, and that a look into every table finds nothing more."""
    with connect(_as_eraser(access.admin), autocommit=True, row_factory=dict_row) as connection:
        left = rows_left(connection, done.tenant_no)
    facts = {field: getattr(done, field) for field in done.__dataclass_fields__}
    proof = facts | {"rows_left": left, "digest": done.digest}
    text = orjson.dumps(proof, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    for path in paths:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_bytes(text)
    return proof


def read_proofs(folder: Path) -> list[Erasure]:
    """What the proofs in a folder say, the oldest first. Raises InvalidRequestError for one that was changed."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            given = orjson.loads(path.read_bytes())
            digest = given["digest"]
            one = Erasure(
                id=UUID(given["id"]),
                installation=UUID(given["installation"]),
                tenant_no=given["tenant_no"],
                tenant_name=given["tenant_name"],
                tenant_made_at=datetime.fromisoformat(given["tenant_made_at"]),
                asked_by=given["asked_by"],
                began_at=datetime.fromisoformat(given["began_at"]),
                erased_at=datetime.fromisoformat(given["erased_at"]),
                erased_rows=given["erased_rows"],
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InvalidRequestError(f"{path} is no proof of an erasure", field="erasures") from error
        if one.digest != digest:
            raise InvalidRequestError(f"{path} was changed after it had been written", field="erasures")
        found.append(one)
    return sorted(found, key=lambda one: one.erased_at)


def erase_again(
    admin: str, service_login: str, known: Iterable[Erasure], report: Callable[[str], None], *, rows_max: int
) -> list[str]:
    """Erase from a restored database the tenants that were erased after its backup; their names.

    The database is brought up to this version for it.
    """
    again = []
    for one in known:
        with connect(
            admin, autocommit=True, row_factory=dict_row, options="-c search_path=bpm"
        ) as connection:
            if not still_there(connection, one):
                continue
            report(f"erasing {one.tenant_name} again, which was erased on {one.erased_at:%Y-%m-%d}")
            migrate(admin, service_login)
            connection.execute(
                "UPDATE tenants SET deletion_asked_at = now(), erased_from = now()"
                " WHERE tenant_id = %s AND deletion_asked_at IS NULL",
                (one.tenant_no,),
            )
        erase(_as_eraser(admin), one.tenant_name, one.asked_by, lambda _: None, rows_max=rows_max, now=True)
        again.append(one.tenant_name)
    return again
