"""Readings judged against packs, tenures, limits and time; what is wrong is set aside, with a reason."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from domain.measures import MEASURE_NAMES, THOUSANDTHS_PER_UNIT
from domain.packs import ALWAYS_MS, KnownPack, Limits, Tenure
from domain.readings import (
    ABSENT,
    BoolArray,
    Float64Array,
    Int32Array,
    Int64Array,
    ReadingBatch,
    to_thousandths,
)
from domain.receipts import Mode, QuarantinedItem, QuarantineReason
from domain.tenancy import TenantId
from ingest.columns import Problem, RawReadings

MS_PER_SECOND = 1000


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """How far from its arrival a reading's time may lie, the earliest time of an import, and of any reading."""

    future_s_max: int
    late_s_max: int
    import_from_ms: int
    archived_before_ms: int = ALWAYS_MS


@dataclass(frozen=True, slots=True)
class Sender:
    """Whose readings these are: the tenant, and the pack whose own device sends them, if one does."""

    tenant_id: TenantId
    device_pack: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Valid readings as a batch, and the rest with reasons.

    ahead: those of the rest that lie too far in the future, of packs held then, without their measures; None when
    there are none.
    """

    readings: ReadingBatch
    quarantined: tuple[QuarantinedItem, ...]
    ahead: ReadingBatch | None = None


def judge(
    raw: RawReadings,
    packs: Mapping[str, KnownPack],
    sender: Sender,
    mode: Mode,
    arrived_at_ms: int | Int64Array,
    limits: TimeLimits,
) -> Judged:
    """The readings that may be stored, rounded to the resolution, and those that may not.

    packs: the packs that the sender may name, by external id; others are unknown. arrived_at_ms: of all readings, or
    int64[n], of each. The first thing found wrong
    with a reading is its reason, in the order type, time, pack, tenure, measures.
    """
    problems = _Problems(raw)
    _judge_times(raw, mode, arrived_at_ms, limits, problems)
    too_early = raw.ts_ms > arrived_at_ms + limits.future_s_max * MS_PER_SECOND
    pack, tenure_of, tenures = _judge_packs(raw, packs, sender, problems)
    _judge_measures(raw, tenure_of, tenures, problems)
    tenants = np.array([int(tenure.tenant_id) for tenure in tenures] or [0], np.int32)
    numbers = np.array([tenure.number for tenure in tenures] or [0], np.int32)
    # Most bodies are right as a whole; a slice spares them the copies.
    kept = np.flatnonzero(~problems.wrong) if problems.wrong.any() else slice(None)
    readings = ReadingBatch(
        raw.index[kept],
        tenants[tenure_of[kept]],
        numbers[tenure_of[kept]],
        pack[kept],
        raw.ts_ms[kept],
        to_thousandths(raw.values[:, kept]),
    )
    return Judged(readings, problems.items(), _ahead(raw, too_early, pack, tenure_of, tenures))


def _ahead(
    raw: RawReadings, too_early: BoolArray, pack: Int32Array, tenure_of: Int32Array, tenures: list[Tenure]
) -> ReadingBatch | None:
    """The readings that came before their time, as far as it is known whose they are: they show a clock's skew."""
    rows = np.flatnonzero(too_early & (pack >= 0) & (tenure_of >= 0))
    if len(rows) == 0:
        return None
    starts = np.array([tenure.from_ms for tenure in tenures], np.int64)
    ends = np.array([tenure.to_ms for tenure in tenures], np.int64)
    held = tenure_of[rows]
    rows = rows[(raw.ts_ms[rows] >= starts[held]) & (raw.ts_ms[rows] < ends[held])]
    tenants = np.array([int(tenure.tenant_id) for tenure in tenures], np.int32)
    numbers = np.array([tenure.number for tenure in tenures], np.int32)
    return ReadingBatch(
        raw.index[rows],
        tenants[tenure_of[rows]],
        numbers[tenure_of[rows]],
        pack[rows],
        raw.ts_ms[rows],
        np.full((len(MEASURE_NAMES), len(rows)), ABSENT, np.int32),
    )


class _Problems:
    """Collects the first problem of each reading."""

    def __init__(self, raw: RawReadings) -> None:
        self._raw = raw
        self._found = list(raw.problems)
        self.wrong: BoolArray = np.zeros(len(raw.index), np.bool_)

    def add(
        self,
        rows: BoolArray,
        reason: QuarantineReason,
        field: str | None = None,
        limit: str | float | None = None,
    ) -> None:
        new = rows & ~self.wrong
        if not new.any():
            return
        self.wrong |= new
        self._found += [Problem(int(index), reason, field, limit) for index in self._raw.index[new]]

    def items(self) -> tuple[QuarantinedItem, ...]:
        ordered = sorted(self._found, key=lambda problem: problem.index)
        return tuple(
            QuarantinedItem(
                problem.index, problem.reason, problem.field, problem.limit, self._raw.raw_of(problem.index)
            )
            for problem in ordered
        )


def _judge_times(
    raw: RawReadings, mode: Mode, arrived_at_ms: int | Int64Array, limits: TimeLimits, problems: _Problems
) -> None:
    latest_ms = arrived_at_ms + limits.future_s_max * MS_PER_SECOND
    problems.add(raw.ts_ms > latest_ms, QuarantineReason.TOO_FAR_IN_FUTURE, "ts", limits.future_s_max)
    if mode is Mode.LIVE:
        earliest_ms = arrived_at_ms - limits.late_s_max * MS_PER_SECOND
        problems.add(raw.ts_ms < earliest_ms, QuarantineReason.TOO_LATE, "ts", limits.late_s_max)
    else:
        problems.add(raw.ts_ms < limits.import_from_ms, QuarantineReason.TOO_OLD, "ts", limits.import_from_ms)
    archived_before_ms = limits.archived_before_ms
    problems.add(raw.ts_ms < archived_before_ms, QuarantineReason.ARCHIVED, "ts", archived_before_ms)


def _judge_packs(
    raw: RawReadings, packs: Mapping[str, KnownPack], sender: Sender, problems: _Problems
) -> tuple[Int32Array, Int32Array, list[Tenure]]:
    """Pack number and position of the tenure for each reading; tenures in a list of their own."""
    tenures: list[Tenure] = []
    numbers: list[int] = []
    whole_tenures: list[int] = []
    moved: list[tuple[int, Sequence[Tenure]]] = []
    # A body may name as many packs as it has readings, so this loop is kept short.
    for code, name in enumerate(raw.pack_names):
        known = packs.get(name)
        usable = () if known is None else _usable(known.tenures, name, sender)
        numbers.append(-1 if known is None else known.number)
        whole_tenures.append(len(tenures) if len(usable) == 1 else -1)
        if len(usable) == 1:
            tenures.append(usable[0])
        elif usable:
            moved.append((code, usable))
    number_of_code = np.array(numbers or [-1], np.int32)
    whole_tenure_of_code = np.array(whole_tenures or [-1], np.int32)
    pack = number_of_code[raw.pack_code]
    problems.add(pack < 0, QuarantineReason.UNKNOWN_PACK, "pack")
    tenure_of = whole_tenure_of_code[raw.pack_code]
    for rows, usable in _rows_of_codes(raw.pack_code, moved):
        for tenure in usable:
            within = (raw.ts_ms[rows] >= tenure.from_ms) & (raw.ts_ms[rows] < tenure.to_ms)
            tenure_of[rows[within]] = len(tenures)
            tenures.append(tenure)
    starts = np.array([tenure.from_ms for tenure in tenures] or [0], np.int64)
    ends = np.array([tenure.to_ms for tenure in tenures] or [0], np.int64)
    outside = (tenure_of < 0) | (raw.ts_ms < starts[tenure_of]) | (raw.ts_ms >= ends[tenure_of])
    problems.add(outside, QuarantineReason.NOT_HELD_THEN, "ts")
    return pack, tenure_of, tenures


def _usable(tenures: Sequence[Tenure], name: str, sender: Sender) -> Sequence[Tenure]:
    """A sender reports for its own tenant's time; a pack's own device for all of the pack's life.

    The own device is one of the present holder's: a former holder's credential must not write the new one's time.
    """
    if len(tenures) == 1 and tenures[0].tenant_id == sender.tenant_id:
        return tenures
    if name == sender.device_pack and tenures[-1].tenant_id == sender.tenant_id:
        return tenures
    return [tenure for tenure in tenures if tenure.tenant_id == sender.tenant_id]


def _rows_of_codes(
    codes: Int32Array, wanted: Sequence[tuple[int, Sequence[Tenure]]]
) -> Iterator[tuple[Int64Array, Sequence[Tenure]]]:
    """The readings of each wanted pack, found by sorting once: a body may name many packs that moved."""
    if not wanted:
        return
    order = np.argsort(codes, kind="stable")
    in_order = codes[order]
    for code, usable in wanted:
        first, last = np.searchsorted(in_order, [code, code + 1])
        yield order[first:last], usable


def _judge_measures(
    raw: RawReadings, tenure_of: Int32Array, tenures: list[Tenure], problems: _Problems
) -> None:
    distinct: dict[Limits, int] = {}
    # Packs of a model share its limits, which are dear to hash: each object is hashed once.
    shared = {id(tenure.limits): tenure.limits for tenure in tenures}
    code_of_object = {one: distinct.setdefault(limits, len(distinct)) for one, limits in shared.items()}
    code_of_tenure = np.array([code_of_object[id(tenure.limits)] for tenure in tenures] or [0], np.int32)
    limits_of = code_of_tenure[tenure_of]
    problems.add(np.asarray(np.isnan(raw.values).all(axis=0)), QuarantineReason.NO_MEASURE)
    # As they would be stored: a float4 hardly ever is the decimal that a limit is.
    with np.errstate(over="ignore"):
        # The largest numbers there are become infinite, and lie outside of every limit.
        thousandths = np.rint(raw.values * THOUSANDTHS_PER_UNIT)
    # First whether anything is outside of all limits together, because nearly always nothing is.
    if not _any_outside(thousandths, list(distinct), limits_of):
        return
    for limits, code in distinct.items():
        rows = limits_of == code
        for measure, name in enumerate(MEASURE_NAMES):
            values = thousandths[measure]
            low, high = limits.minimum[measure], limits.maximum[measure]
            below, above = (
                values < round(low * THOUSANDTHS_PER_UNIT),
                values > round(high * THOUSANDTHS_PER_UNIT),
            )
            problems.add(below & rows, QuarantineReason.OUT_OF_RANGE, name, low)
            problems.add(above & rows, QuarantineReason.OUT_OF_RANGE, name, high)


def _any_outside(thousandths: Float64Array, distinct: Sequence[Limits], limits_of: Int32Array) -> bool:
    """Whether any value lies outside of its reading's limits; NaN never does."""
    if not distinct:
        return False
    low = np.rint(np.array([limits.minimum for limits in distinct]).T * THOUSANDTHS_PER_UNIT)
    high = np.rint(np.array([limits.maximum for limits in distinct]).T * THOUSANDTHS_PER_UNIT)
    if len(distinct) > 1:
        low, high = low[:, limits_of], high[:, limits_of]
    return bool((thousandths < low).any() or (thousandths > high).any())
