"""What the engine needs of a store; `storage` satisfies it, `api/bootstrap.py` joins them."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

import numpy as np
import numpy.typing as npt

from domain.alert_rules import Rule, Silence, TenureScope
from domain.alerts import AlertAction, AlertChanges, ClearByHand, OpenAlert, SavedRuleState, SetAside
from domain.corrections import Correction, Reached
from domain.readings import (
    Found,
    HeldTenures,
    Holders,
    IncomingBatch,
    Int32Array,
    LastArrivals,
    LatestValues,
    LiveReadings,
    LookUps,
    NewReadings,
    Outcome,
    PackMarks,
    PackStates,
    RuleClocks,
    StoredReadings,
)
from domain.receipts import Receipt
from domain.tenancy import TenantId, TenantVersions


class CommittedBatch(Protocol):
    """A batch that was committed before."""

    @property
    def body_hash(self) -> bytes | None: ...

    @property
    def receipt(self) -> Receipt: ...


class Group(Protocol):
    """One transaction of a partition's owner."""

    def tenant_versions(self, tenants: Sequence[TenantId]) -> dict[TenantId, TenantVersions]: ...

    def erased(self, tenants: Sequence[TenantId]) -> set[TenantId]: ...

    def is_home_of(self, tenant_id: TenantId) -> bool: ...

    def versions_with_rules(self) -> dict[TenantId, TenantVersions]: ...

    def rules_of(self, tenants: Sequence[TenantId]) -> tuple[list[Rule], list[Silence]]: ...

    def scopes_of(self, tenures: Int32Array) -> list[TenureScope]: ...

    def quarantined_since(self, moment_ms: int, tenants: Sequence[TenantId]) -> list[SetAside]: ...

    def committed(
        self, keys: Sequence[tuple[TenantId, UUID]]
    ) -> Mapping[tuple[TenantId, UUID], CommittedBatch]: ...

    def tenures_of(self, packs: Int32Array) -> HeldTenures: ...

    def others(self, tenant_id: TenantId, marks: PackMarks) -> Int32Array: ...

    def source_positions(self, sources: Sequence[str]) -> dict[str, int]: ...

    def move_sources(self, positions: Mapping[str, int]) -> None: ...

    def undone_imports(self, imports: Sequence[UUID]) -> set[UUID]: ...

    def find(self, look_ups: LookUps) -> Found: ...

    def write(self, outcome: Outcome) -> None: ...

    def write_alerts(self, changes: AlertChanges) -> None: ...

    def write_action(self, action: AlertAction, now_ms: int) -> None: ...

    def note_cleared(self, asked: ClearByHand) -> None: ...


class Slice(Protocol):
    """What one slice of a correction changed, and how far it came; None at the end."""

    @property
    def gone(self) -> StoredReadings: ...

    @property
    def added(self) -> NewReadings: ...

    @property
    def reached(self) -> Reached | None: ...


class Store(Protocol):
    """The store of one partition, for its only writer."""

    def take_over(self) -> None: ...

    def close(self) -> None: ...

    def load(self) -> tuple[PackStates, StoredReadings]: ...

    def load_rules(self) -> tuple[RuleClocks, list[SavedRuleState], LiveReadings]: ...

    def holders(self) -> tuple[Holders, str]: ...

    def holders_since(self, snapshot: str) -> tuple[Int32Array, Holders, str]: ...

    def last_arrivals(self) -> LastArrivals: ...

    def open_alerts(self) -> list[OpenAlert]: ...

    def tenure_scopes(self, tenures: Sequence[int]) -> list[TenureScope]: ...

    def corrected_packs(self) -> Int32Array: ...

    def next_correction(self) -> Correction | None: ...

    def correct_slice(self, correction: Correction, reached: Reached, readings_max: int) -> Slice: ...

    def packs_touched_by(self, correction: Correction) -> Int32Array: ...

    def latest_of(self, pack: Int32Array) -> LatestValues: ...

    def finish_correction(self, correction: Correction) -> None: ...

    def clearances(self) -> list[ClearByHand]: ...

    def answer_clearance(self, asked: ClearByHand) -> None: ...

    def latest_arrival_ms(self) -> int | None: ...

    def prepare_days(self, ts_ms: npt.NDArray[np.int64]) -> None: ...

    def prepare_days_ahead(self, now_ms: int) -> None: ...

    def group(self, until: int | None = None) -> AbstractContextManager[Group]: ...

    def close_quarters(self, now_ms: int, close_after_s: int) -> None: ...

    def check(self) -> None: ...

    def save_state(self, states: PackStates, clocks: RuleClocks, arrivals: LastArrivals) -> None: ...

    def clock_confirmed_at_ms(self) -> int | None: ...


class LogStore(Store, Protocol):
    """The store of a partition whose readings come from a log."""

    @property
    def position(self) -> int: ...

    def come_back(self) -> None: ...

    def is_ours(self) -> bool: ...

    def is_about_data(self, error: Exception) -> bool: ...


class Entered(Protocol):
    """A batch as it was first sent under its key."""

    @property
    def body_hash(self) -> bytes | None: ...

    @property
    def receipt(self) -> Receipt | None: ...


class SubmissionStore(Protocol):
    """What a process that sends into a topic needs of the store."""

    async def enter(self, batch: IncomingBatch) -> Entered: ...

    async def is_undone(self, batch: IncomingBatch) -> bool: ...

    async def receipt(self, tenant_id: TenantId, batch_id: UUID) -> Receipt | None: ...

    async def positions(self) -> dict[int, int]: ...

    async def log(self, *, held: bool = False) -> str: ...

    async def listening(self) -> Any: ...


class CountStore(Protocol):
    """The store of counting a partition's quarter-hours, for its counter."""

    def count_once(
        self, before_commit: Callable[[], None] = ..., after_commit: Callable[[], None] = ...
    ) -> bool: ...

    def close(self) -> None: ...


class Stage(StrEnum):
    """Named points of a group's way, of a count's and of a delivery's, where tests end the process."""

    BEFORE_COMMIT = "before_commit"
    AFTER_COMMIT = "after_commit"
    IN_COUNT_BEFORE_COMMIT = "in_count_before_commit"
    IN_COUNT_AFTER_COMMIT = "in_count_after_commit"
    SENT_BEFORE_MARK = "sent_before_mark"
