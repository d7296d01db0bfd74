"""A tenant on its way to another cell: drained, copied, compared, and then it is there and no longer here."""

import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from api.database_access import DatabaseAccess
from api.delivering.sealing import Sealer, make_sealer
from api.settings import Settings
from api.topic import bootstrap_of
from domain.cells import Cell, Placement
from domain.errors import BpmError, MoveFailedError, MoveRefusedError, NotFoundError, SettingsRefusedError
from domain.tenancy import TenantId, TenantState
from storage import moving as stored
from storage.database import INGEST_ROLE, conninfo_as
from storage.migrate import require_migrated
from storage.moving import Connection, Copy, one, rows
from streams.topic_admin import log_ends

Row = dict[str, Any]

_POLL_S: Final = 0.25
_LOCK_S_MAX: Final = 30.0


def read_cells(path: Path | None) -> dict[str, Cell]:
    """The cells of a file, by name. Raises SettingsRefusedError."""
    if path is None:
        raise SettingsRefusedError("say in which file the cells are", field="BPM_CELLS_FILE")
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))["cells"]
        return {name: Cell(name, str(one_["url"]), str(one_["database_url"])) for name, one_ in given.items()}
    except (OSError, UnicodeError, tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError) as error:
        # What stands in it may be a password.
        raise SettingsRefusedError(
            f"{path} can't be read as cells: a table [cells.NAME] with url and database_url each",
            field="BPM_CELLS_FILE",
        ) from error


@dataclass(frozen=True, slots=True)
class Steps:
    """What a move says, and how long it waits.

    told: a step, what it is about, and seconds, bytes or rows. wait_s_max: for workers to finish what was sent.
    taken_in_s: within it a body is sent that was being read and judged when the tenant began to leave. reached: for
    tests.
    """

    told: Callable[[str, str, int], None] = lambda *_: None
    wait_s_max: float = 600.0
    taken_in_s: float = 5.0
    reached: Callable[[str], None] = lambda _: None


class TenantMove:
    """One tenant's move; every step may be the last, and the next run goes on from there."""

    def __init__(self, settings: Settings, access: DatabaseAccess, tenant: str, steps: Steps) -> None:
        self._settings = settings
        self._access = access
        self._name = tenant
        self._steps = steps
        self._sealer = make_sealer(settings)

    def run(self, cell_name: str) -> Row:
        """Move the tenant; what was done.

        Raises MoveRefusedError, NotFoundError, SettingsRefusedError, MoveFailedError, KafkaUnreachableError.
        """
        began_s = time.monotonic()
        cells = read_cells(self._settings.cells_file)
        if cell_name not in cells:
            raise NotFoundError(
                f"there is no cell {cell_name}; known are {', '.join(sorted(cells))}", field="to"
            )
        cell = cells[cell_name]
        with self._both(cell) as (here, there):
            tenant = self._known(here)
            moved = self._moved(here, there, tenant, cell)
        return moved | {
            "tenant": self._name,
            "cell": cell.name,
            "seconds": round(time.monotonic() - began_s, 3),
        }

    def cancel(self) -> Row:
        """Let a tenant that was leaving stay. Raises MoveRefusedError when it is elsewhere already."""
        with _locked(self._here(), self._name) as here:
            tenant = self._known(here)
            placement = Placement(tenant["placement"])
            if placement is Placement.MOVED:
                raise MoveRefusedError(f"{self._name} is on the cell {tenant['cell']} already")
            if placement is not Placement.HERE:
                self._require_not_there(here, tenant)
                with here.transaction():
                    rows(here, "stay", {"tenant": tenant["tenant_id"]})
                    self._audit(here, tenant["tenant_id"], "tenants.stayed", {"cell": tenant["cell"]})
        return {"tenant": self._name, "placement": "here", "changed": placement is not Placement.HERE}

    def _require_not_there(self, here: Connection, tenant: Row) -> None:
        """Its rows may be there, and the command that brought them have ended before it could say so here."""
        cells = read_cells(self._settings.cells_file)
        if tenant["cell"] not in cells:
            raise MoveRefusedError(
                f"the cells file doesn't name {tenant['cell']}, where the tenant may be already"
            )
        with _locked(_connected(cells[tenant["cell"]].database_url), self._name) as there:
            found = rows(there, "tenant", {"name": self._name})
            if found and found[0]["arrived_from"] == _known_as(here, tenant):
                raise MoveRefusedError(
                    f"{self._name} has arrived on {tenant['cell']}: finish with bpm tenant move {self._name} --to "
                    f"{tenant['cell']}"
                )

    def _here(self) -> Connection:
        return _connected(self._access.service or self._access.admin)

    @contextmanager
    def _both(self, cell: Cell) -> Iterator[tuple[Connection, Connection]]:
        """Connections to both databases, on which nobody else moves this tenant."""
        require_migrated(self._access.admin)
        try:
            require_migrated(cell.database_url)
        except BpmError as error:
            raise MoveRefusedError(f"{cell.name}: {error.detail}", field="to") from error
        with self._here() as here, _connected(cell.database_url) as there:
            stored.require_other(one(here, "facts"), one(there, "facts"))
            with _locked(here, self._name), _locked(there, self._name):
                yield here, there

    def _known(self, here: Connection) -> Row:
        found = rows(here, "tenant", {"name": self._name})
        if not found:
            raise NotFoundError(f"there is no tenant {self._name}", field="tenant")
        return found[0]

    def _moved(self, here: Connection, there: Connection, tenant: Row, cell: Cell) -> Row:
        number, placement = tenant["tenant_id"], Placement(tenant["placement"])
        if placement is not Placement.HERE and tenant["cell"] != cell.name:
            raise MoveRefusedError(
                f"{self._name} is {placement} for the cell {tenant['cell']}"
                + ("" if placement is Placement.MOVED else ": take it back first, with --cancel")
            )
        arrived = rows(there, "tenant", {"name": self._name})
        if arrived and arrived[0]["arrived_from"] == _known_as(here, tenant):
            # A command before this one ended between the two cells' commits, or has done everything.
            if placement is not Placement.MOVED:
                self._switch(here, number, cell, {})
            return {"rows": {}, "was_there": True}
        if placement is Placement.MOVED:
            raise MoveRefusedError(f"{self._name} has moved to {cell.name}, and isn't there")
        if arrived:
            raise MoveRefusedError(f"{cell.name} has a tenant {self._name} already")
        self._check(here, there, number)
        self._drain(here, number, placement, cell)
        counts = self._copy(here, there, number, _known_as(here, tenant), cell)
        self._steps.reached("between")
        self._switch(here, number, cell, counts)
        return {"rows": counts, "was_there": False}

    def _check(self, here: Connection, there: Connection, number: int) -> None:
        if (state := self._known(here)["state"]) != TenantState.ACTIVE:
            raise MoveRefusedError(f"{self._name} is {state}: only active tenants move")
        stored.require_alike(one(here, "facts"), one(there, "facts"))
        stored.require_same_class(here, there, number)
        stored.require_own_packs(here, number)
        ours = rows(here, "sealed_secrets", {"tenant": number})
        for row in ours:
            self._require_opens("this cell", row["secret"], number, row["id"])
        for row in rows(there, "any_secret") if ours else []:
            self._require_opens("the other cell", row["secret"], row["tenant_id"], row["id"])

    def _require_opens(self, side: str, sealed: bytes, tenant: int, channel: UUID) -> None:
        try:
            self._sealer.open(bytes(sealed), TenantId(tenant), channel)
        except BpmError as error:
            raise MoveRefusedError(
                f"secrets of {side} can't be opened by the keys of BPM_SECRETS_KEY_FILE: both cells and this command "
                "need the same"
            ) from error

    # Draining

    def _drain(self, here: Connection, number: int, placement: Placement, cell: Cell) -> None:
        """Take nothing in any more, and let everything that was taken in have all of its effects."""
        at = {"tenant": number}
        if placement is not Placement.SEALED:
            with here.transaction():
                rows(here, "leave", at | {"cell": cell.name, "url": cell.url})
                self._audit(here, number, "tenants.leaving", {"cell": cell.name})
            self._steps.reached("leaving")
            self._wait_until_sent()
            self._wait_until_committed(here)
            self._until(
                "corrections, and alerts that people clear, to be done",
                lambda: not _any(here, "unfinished", at),
            )
            with here.transaction():
                rows(here, "seal", at)
                self._audit(here, number, "tenants.sealed", {"cell": cell.name})
            self._steps.reached("sealed")
        ends = rows(here, "log_ends")
        logs = {
            "partition_no": [row["partition_no"] for row in ends],
            "seq": [row["alert_seq"] for row in ends],
        }
        self._until("workers to save what they remember", lambda: not rows(here, "unsaved", at))
        self._until("events of alerts to be sent on", lambda: not rows(here, "unsent", logs))

    def _wait_until_sent(self) -> None:
        """API processes know of it, and what they had begun to send is acknowledged or given up."""
        settings = self._settings
        wait_s = (
            settings.tenant_cache_s
            + settings.receipt_wait_s
            + settings.kafka_ack_s_max
            + self._steps.taken_in_s
        )
        self._steps.told("waiting", "for requests that had begun", round(wait_s))
        time.sleep(wait_s)

    def _wait_until_committed(self, here: Connection) -> None:
        facts = one(here, "facts")
        topic = facts["topic"].partition("/")[0]
        ends = log_ends(bootstrap_of(self._settings), topic, facts["partitions"])

        def committed() -> bool:
            known = {row["partition_no"]: row["next"] for row in rows(here, "positions")}
            return all(known.get(number, 0) >= end for number, end in ends.items())

        self._until("workers to commit what was sent", committed)

    def _until(self, what: str, is_so: Callable[[], bool]) -> None:
        self._steps.told("waiting", f"for {what}", 0)
        deadline_s = time.monotonic() + self._steps.wait_s_max
        while not is_so():
            if time.monotonic() > deadline_s:
                raise MoveFailedError(
                    f"waited {self._steps.wait_s_max:g} s for {what}. Until the command is run again, or the tenant "
                    "taken back with --cancel, nothing is taken in for it"
                )
            time.sleep(_POLL_S)

    # Copying

    def _copy(
        self, here: Connection, there: Connection, number: int, known_as: str, cell: Cell
    ) -> dict[str, int]:
        with stored.snapshot(here):
            copy = Copy(here, there, number, self._steps.told)
            copy.make_room()
            with there.transaction():
                arrived = copy.run(known_as, self._reseal)
                self._steps.reached("copied")
                self._audit(there, arrived, "tenants.arrived", {"from": known_as, "rows": copy.counts})
                copy.finish()
        self._steps.told("arrived", cell.name, sum(copy.counts.values()))
        return copy.counts

    def _reseal(self, tenant: int, channel: UUID, sealed: bytes, to_tenant: int) -> bytes:
        sealer: Sealer = self._sealer
        return sealer.seal(
            sealer.open(bytes(sealed), TenantId(tenant), channel), TenantId(to_tenant), channel
        )

    def _switch(self, here: Connection, number: int, cell: Cell, counts: dict[str, int]) -> None:
        with here.transaction():
            rows(here, "moved", {"tenant": number})
            self._audit(here, number, "tenants.moved", {"cell": cell.name, "url": cell.url, "rows": counts})
        self._steps.told("switched", cell.url, 0)

    def _audit(self, connection: Connection, number: int, action: str, after: Row) -> None:
        stored.audit(connection, number, self._name, action, after)


def _known_as(here: Connection, tenant: Row) -> str:
    return f"{one(here, 'facts')['id']}/{tenant['tenant_id']}"


def _any(connection: Connection, name: str, parameters: Row) -> bool:
    return any(one(connection, name, parameters).values())


def _connected(conninfo: str) -> Connection:
    return stored.connect(
        conninfo_as(conninfo, INGEST_ROLE, application="bpm move", lock_timeout_s=_LOCK_S_MAX)
    )


@contextmanager
def _locked(connection: Connection, tenant: str) -> Iterator[Connection]:
    """The connection, on which alone this tenant is moved. Raises MoveRefusedError when another command is at it."""
    with connection:
        if not one(connection, "try_move_lock", {"name": tenant})["locked"]:
            raise MoveRefusedError(f"another command moves {tenant} at this moment")
        yield connection
