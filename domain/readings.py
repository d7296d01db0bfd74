"""Readings as columns: the shape in which batches travel from the edge to the store."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol
from uuid import UUID

import numpy as np
import numpy.typing as npt

from domain.measures import MEASURES, THOUSANDTHS_PER_UNIT
from domain.packs import Place
from domain.quarantine import PLAIN_ORIGIN, ItemOrigin
from domain.receipts import Mode, QuarantinedItem, Receipt
from domain.tenancy import TenantId

ABSENT: Final = int(np.iinfo(np.int32).min)
"""Marks a measure that a reading doesn't carry, in arrays of thousandths."""

NEVER_MS: Final = int(np.iinfo(np.int64).min)
"""Time of what has never been."""

Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


def to_thousandths(values: npt.NDArray[np.floating]) -> Int32Array:
    """Whole thousandths of a unit, rounded half to even; NaN becomes ABSENT.

    values: float32 or float64 of any shape, |value| <= 2,000,000. Multiplied in float64, so that a stored
    float4 comes back exactly.

    >>> to_thousandths(np.array([3.7, float("nan"), 58.4], dtype=np.float32)).tolist()
    [3700, -2147483648, 58400]
    """
    scaled: Float64Array = np.multiply(values, THOUSANDTHS_PER_UNIT, dtype=np.float64)
    np.rint(scaled, out=scaled)
    scaled[np.isnan(scaled)] = ABSENT
    return scaled.astype(np.int32)


def to_values(thousandths: Int32Array) -> Float64Array:
    """Float64 values of thousandths, ABSENT as NaN; the shortest decimal of each is the measured one.

    >>> to_values(np.array([3700, ABSENT], dtype=np.int32)).tolist()
    [3.7, nan]
    """
    values = thousandths / float(THOUSANDTHS_PER_UNIT)
    values[thousandths == ABSENT] = np.nan
    return values


def _require(
    name: str, array: npt.NDArray[np.generic], dtype: type[np.generic], shape: tuple[int, ...]
) -> None:
    if array.dtype != dtype or array.shape != shape:
        raise TypeError(f"{name}: expected {dtype.__name__}{shape}, got {array.dtype}{array.shape}")


@dataclass(frozen=True, slots=True, eq=False)
class ReadingBatch:
    """Valid readings of one batch, in their order of arrival, n of them.

    index: int32[n], position in the body.
    tenant: int32[n], whose the reading is, by the pack's tenure at its time.
    tenure: int32[n], the number of that tenure.
    pack: int32[n], pack numbers.
    ts_ms: int64[n], event time, milliseconds since 1970 in UTC.
    thousandths: int32[measures, n], rows as in MEASURES, ABSENT where the reading has none.
    """

    index: Int32Array
    tenant: Int32Array
    tenure: Int32Array
    pack: Int32Array
    ts_ms: Int64Array
    thousandths: Int32Array

    def __post_init__(self) -> None:
        n = len(self.index)
        _require("index", self.index, np.int32, (n,))
        _require("tenant", self.tenant, np.int32, (n,))
        _require("tenure", self.tenure, np.int32, (n,))
        _require("pack", self.pack, np.int32, (n,))
        _require("ts_ms", self.ts_ms, np.int64, (n,))
        _require("thousandths", self.thousandths, np.int32, (len(MEASURES), n))

    def __len__(self) -> int:
        return len(self.index)

    def rows(self, which: Int64Array | slice) -> "ReadingBatch":
        """Some of the readings, by their positions."""
        return ReadingBatch(
            self.index[which],
            self.tenant[which],
            self.tenure[which],
            self.pack[which],
            self.ts_ms[which],
            np.ascontiguousarray(self.thousandths[:, which]),
        )


class RawItems(Protocol):
    """The raw text of each reading of a body, by its index."""

    def __call__(self, index: int) -> str: ...

    def release(self) -> None:
        """Keep nothing that can be decoded from the body again: a queue of bodies must stay small."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class IncomingBatch:
    """One request or message on its way in: its valid readings, and what was set aside at the edge.

    id: the client's idempotency key as a UUID, or ours; unique per tenant.
    body_hash: SHA-256 of the body when the client gave a key, else None (no retry can name it).
    subject: who sent it. arrived_at_ms: given once, at the edge.
    body_bytes: size of the body, which is kept until the batch is answered.
    registry_version: of the tenant's packs and tenures by which the readings were judged.
    raw_of: the raw text of the reading at an index of the body.
    part_of: the batch of which this is a part that is committed by itself, or None. parts: how many there are, where
    they are committed in no order; None where its own row follows the last part.
    ahead: readings that were set aside because they lie too far in the future, without their measures; or None.
    origin: what quarantine keeps of where the readings come from.
    redriven: the readings stand in quarantine already, so what is set aside again isn't written there.
    marks: of the packs that the batch may name; numbers may be given again by a database that was restored.
    sent_on: where the items came from, when they were published one by one; or None.
    came_ms: int64[n], when each of the readings first came, by which it is late; None when that is arrived_at_ms.
    """

    id: UUID
    tenant_id: TenantId
    subject: str
    source: str
    mode: Mode
    import_id: UUID | None
    arrived_at_ms: int
    body_hash: bytes | None
    registry_version: int
    body_bytes: int
    received: int
    readings: ReadingBatch
    quarantined: tuple[QuarantinedItem, ...]
    ignored_keys: tuple[str, ...]
    raw_of: RawItems
    part_of: UUID | None = None
    parts: int | None = None
    ahead: ReadingBatch | None = None
    origin: ItemOrigin = PLAIN_ORIGIN
    redriven: bool = False
    sent_on: "SentOn | None" = None
    marks: "PackMarks" = field(default_factory=lambda: PackMarks.of({}))
    came_ms: Int64Array | None = None


@dataclass(frozen=True, slots=True, eq=False)
class SentOn:
    """Where the items of a batch came from: a partition of a topic, and the position of each.

    source: the topic as name/id, its partition and the tenant, with colons between. index: int32[k], of the items,
    ascending. position: int64[k], of each.
    """

    source: str
    index: Int32Array
    position: Int64Array

    def at(self, index: npt.ArrayLike) -> Int64Array:
        """The positions of some items, all of which must be here.

        >>> SentOn("s", np.array([2, 5], np.int32), np.array([70, 90])).at([5, 2]).tolist()
        [90, 70]
        """
        return self.position[np.searchsorted(self.index, np.asarray(index, np.int32))]


@dataclass(frozen=True, slots=True, eq=False)
class PackMarks:
    """Which packs are meant by their numbers. pack int32[k], ascending; mark int64[k]."""

    pack: Int32Array
    mark: Int64Array

    @classmethod
    def of(cls, marks: Mapping[int, int]) -> "PackMarks":
        """From marks by number."""
        pack = np.array(sorted(marks), np.int32)
        return cls(pack, np.array([marks[number] for number in pack.tolist()], np.int64))

    def among(self, pack: Int32Array) -> "PackMarks":
        """Those of some packs, all of which must be here. Raises KeyError."""
        wanted = np.unique(pack)
        place = np.searchsorted(self.pack, wanted)
        if len(wanted) and (place[-1] >= len(self.pack) or (self.pack[place] != wanted).any()):
            raise KeyError("a pack has no mark")
        return PackMarks(wanted, self.mark[place])


@dataclass(frozen=True, slots=True, eq=False)
class HeldTenures:
    """Tenures in order of (pack, from), t of them, and the time before which nothing of a tenant is stored any more.

    tenant, pack, number int32[t]; from_ms, to_ms int64[t], beyond all times where there is no bound.
    """

    tenant: Int32Array
    pack: Int32Array
    from_ms: Int64Array
    to_ms: Int64Array
    number: Int32Array
    archived_before_ms: int


@dataclass(frozen=True, slots=True, eq=False)
class ReadingKeys:
    """Identities to look up in the store: pack int32[n] and ts_ms int64[n]."""

    pack: Int32Array
    ts_ms: Int64Array

    def __len__(self) -> int:
        return len(self.pack)


@dataclass(frozen=True, slots=True, eq=False)
class StoredReadings:
    """Readings as the store has them: pack int32[n], ts_ms int64[n], thousandths int32[measures, n]."""

    pack: Int32Array
    ts_ms: Int64Array
    thousandths: Int32Array

    def __len__(self) -> int:
        return len(self.pack)

    @staticmethod
    def none() -> "StoredReadings":
        return StoredReadings(
            np.empty(0, np.int32), np.empty(0, np.int64), np.empty((len(MEASURES), 0), np.int32)
        )


@dataclass(frozen=True, slots=True, eq=False)
class FormerReadings:
    """Values that were stored and are superseded, oldest correction first.

    pack int32[n], ts_ms int64[n]; deleted int32[n], 1 where deleted, 0 where replaced by a correction; thousandths
    int32[measures, n].
    """

    pack: Int32Array
    ts_ms: Int64Array
    deleted: Int32Array
    thousandths: Int32Array

    def __len__(self) -> int:
        return len(self.pack)

    @staticmethod
    def none() -> "FormerReadings":
        nothing = StoredReadings.none()
        return FormerReadings(nothing.pack, nothing.ts_ms, np.empty(0, np.int32), nothing.thousandths)


@dataclass(frozen=True, slots=True, eq=False)
class LookUps:
    """What a group must know of the store: readings that may be there, and those that may have been there."""

    stored: ReadingKeys
    former: ReadingKeys


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What the store has, and had, under the keys that were looked up."""

    stored: StoredReadings
    former: FormerReadings


@dataclass(frozen=True, slots=True, eq=False)
class LatestValues:
    """Latest values of p packs: pack int32[p]; ts_ms int64[measures, p] and thousandths int32[measures, p].

    ABSENT where a pack has no value of a measure.
    """

    pack: Int32Array
    ts_ms: Int64Array
    thousandths: Int32Array


@dataclass(frozen=True, slots=True, eq=False)
class PackStates:
    """What follows from the stored readings of p packs.

    pack int32[p]; watermark_ms int64[p], the largest stored time; latest_ts_ms int64[measures, p] and latest
    int32[measures, p], time and thousandths of each measure's latest value.
    """

    pack: Int32Array
    watermark_ms: Int64Array
    latest_ts_ms: Int64Array
    latest: Int32Array

    @staticmethod
    def none() -> "PackStates":
        by_measure = (len(MEASURES), 0)
        return PackStates(
            np.empty(0, np.int32),
            np.empty(0, np.int64),
            np.empty(by_measure, np.int64),
            np.empty(by_measure, np.int32),
        )


@dataclass(frozen=True, slots=True, eq=False)
class NewReadings:
    """Rows to insert, sorted by (pack, ts_ms).

    batch: int32[n], position of the row's batch in its group. The others are as in ReadingBatch.
    """

    tenant: Int32Array
    pack: Int32Array
    ts_ms: Int64Array
    batch: Int32Array
    index: Int32Array
    thousandths: Int32Array

    def __len__(self) -> int:
        return len(self.pack)

    @staticmethod
    def none() -> "NewReadings":
        of_int32 = np.empty(0, np.int32)
        nothing = np.empty((len(MEASURES), 0), np.int32)
        return NewReadings(of_int32, of_int32, np.empty(0, np.int64), of_int32, of_int32, nothing)

    def of(self, chosen: BoolArray) -> "NewReadings":
        """The chosen rows, bool[n], in their order."""
        return NewReadings(
            self.tenant[chosen],
            self.pack[chosen],
            self.ts_ms[chosen],
            self.batch[chosen],
            self.index[chosen],
            self.thousandths[:, chosen],
        )


@dataclass(frozen=True, slots=True, eq=False)
class LiveReadings:
    """The live, accepted readings of a group in their order of arrival, n of them (rule E17).

    tenant int32[n], tenure int32[n], pack int32[n], ts_ms int64[n], arrived_ms int64[n] of the reading's batch.
    batch int32[n], position of the batch in its group. thousandths int32[measures, n]: only what is new in the
    store, ABSENT elsewhere. One without any measure was set aside because it lies too far in the future.
    """

    tenant: Int32Array
    tenure: Int32Array
    pack: Int32Array
    ts_ms: Int64Array
    arrived_ms: Int64Array
    batch: Int32Array
    thousandths: Int32Array

    def __len__(self) -> int:
        return len(self.pack)

    @staticmethod
    def none() -> "LiveReadings":
        of_int32, of_int64 = np.empty(0, np.int32), np.empty(0, np.int64)
        nothing = np.empty((len(MEASURES), 0), np.int32)
        return LiveReadings(of_int32, of_int32, of_int32, of_int64, of_int64, of_int32, nothing)

    def then(self, later: "LiveReadings") -> "LiveReadings":
        """These readings, and others that arrived after them."""
        return LiveReadings(
            np.concatenate([self.tenant, later.tenant]),
            np.concatenate([self.tenure, later.tenure]),
            np.concatenate([self.pack, later.pack]),
            np.concatenate([self.ts_ms, later.ts_ms]),
            np.concatenate([self.arrived_ms, later.arrived_ms]),
            np.concatenate([self.batch, later.batch]),
            np.concatenate([self.thousandths, later.thousandths], axis=1),
        )


@dataclass(frozen=True, slots=True, eq=False)
class RuleClocks:
    """What rules remember of p packs besides the states of rules.

    pack int32[p]; tenant and tenure int32[p] of the last live reading that wasn't late; clock_ms int64[p], its rule
    time; last_ts_ms int64[measures, p] and last int32[measures, p]: the last live values with their event times.
    """

    pack: Int32Array
    tenant: Int32Array
    tenure: Int32Array
    clock_ms: Int64Array
    last_ts_ms: Int64Array
    last: Int32Array

    def __len__(self) -> int:
        return len(self.pack)

    @staticmethod
    def none() -> "RuleClocks":
        of_int32, of_int64 = np.empty(0, np.int32), np.empty(0, np.int64)
        by_measure = (len(MEASURES), 0)
        return RuleClocks(
            of_int32,
            of_int32,
            of_int32,
            of_int64,
            np.empty(by_measure, np.int64),
            np.empty(by_measure, np.int32),
        )


@dataclass(frozen=True, slots=True, eq=False)
class LastArrivals:
    """The last live arrivals of p packs.

    pack int32[p]; tenant int32[p], whose they were; arrived_ms int64[p], of the last one; newest_ts_ms int64[p], the
    newest live event time, and skew_ms int64[p], its arrival minus it.
    """

    pack: Int32Array
    tenant: Int32Array
    arrived_ms: Int64Array
    newest_ts_ms: Int64Array
    skew_ms: Int64Array

    def __len__(self) -> int:
        return len(self.pack)

    @staticmethod
    def none() -> "LastArrivals":
        of_int32, of_int64 = np.empty(0, np.int32), np.empty(0, np.int64)
        return LastArrivals(of_int32, of_int32, of_int64, of_int64, of_int64)


@dataclass(frozen=True, slots=True, eq=False)
class Holders:
    """Where p packs are now.

    pack int32[p]; place int32[p], a row of `places`; since_ms int64[p]: what was measured before belongs to a holder
    before, ALWAYS_MS where there was none.
    """

    pack: Int32Array
    place: Int32Array
    since_ms: Int64Array
    places: tuple[Place, ...]

    def __len__(self) -> int:
        return len(self.pack)

    @staticmethod
    def none() -> "Holders":
        return Holders(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.int64), ())


@dataclass(frozen=True, slots=True)
class BatchResult:
    """A batch with its receipt, and everything of it that was set aside, conflicts included."""

    batch: IncomingBatch
    receipt: Receipt
    quarantined: tuple[QuarantinedItem, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one group of batches changes: committed as one transaction, or not at all."""

    rows: NewReadings
    results: tuple[BatchResult, ...]
    live: LiveReadings
