"""The engine's promises as plain dictionaries: no columns, no SQL, no cache, and nothing imported from the engine.

Whatever is asked of it is answered from the raw readings and the list of tenures as they are.
"""

from bisect import bisect_left, insort
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from tests.model import recount

ALWAYS_MS, FOREVER_MS = -(2**62), 2**62
QUARTER_MS = recount.QUARTER_MS

Identity = tuple[int, int, int]
"""Pack number, milliseconds, measure."""

Place = tuple[int, int, int]
"""Tenant, pack number, start of a quarter-hour."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the model is told of the engine's settings. low, high: plausible thousandths of each measure."""

    measures: tuple[str, ...]
    low: tuple[int, ...]
    high: tuple[int, ...]
    voltage: int
    current: int
    gap_ms: int
    future_ms: int
    late_ms: int
    late_after_ms: int


@dataclass(frozen=True, slots=True)
class Reading:
    """A reading as it is sent; `pack` is an external id."""

    pack: str
    ts: int
    values: tuple[tuple[int, int], ...]

    def __str__(self) -> str:
        return f"{self.pack}@{self.ts}{{{', '.join(f'{m}:{v}' for m, v in self.values)}}}"


@dataclass(frozen=True, slots=True)
class Batch:
    """A body as it is sent. device: the pack whose own device sends it. raw: the text of each reading."""

    id: UUID
    tenant: int
    source: str
    body: bytes | None
    import_id: UUID | None
    device: str | None
    readings: tuple[Reading, ...]
    raw: tuple[str, ...]

    def __str__(self) -> str:
        kind = f"import {self.import_id}" if self.import_id else "live"
        by = f" by the device of {self.device}" if self.device else ""
        return f"{kind} {str(self.id)[:8]} of {self.tenant}{by}: {' '.join(map(str, self.readings))}"


@dataclass(slots=True)
class Tenure:
    """from <= t < to; `number` is what the engine calls it."""

    tenant: int
    number: int
    starts: int = ALWAYS_MS
    ends: int = FOREVER_MS


@dataclass(frozen=True, slots=True)
class Stored:
    """A value that is true now; batch is None when a correction put it there."""

    value: int
    tenant: int
    batch: UUID | None


Item = tuple[int, str, str, str | None]
"""Index, outcome, reason, field."""


@dataclass(slots=True)
class Receipt:
    received: int = 0
    accepted: int = 0
    duplicate: int = 0
    quarantined: int = 0
    late: int = 0
    conflicting: int = 0
    items: list[Item] = field(default_factory=list)

    def plus(self, other: "Receipt") -> "Receipt":
        return Receipt(
            self.received + other.received,
            self.accepted + other.accepted,
            self.duplicate + other.duplicate,
            self.quarantined + other.quarantined,
            self.late + other.late,
            self.conflicting + other.conflicting,
            self.items + other.items,
        )


class Refusal(Exception):  # noqa: N818 - an answer, no error
    """What is refused, by the engine's name of it."""


class Model:
    """What must be true of the engine after each step."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.tenures: dict[int, list[Tenure]] = {}
        self.numbers: dict[tuple[int, str], int] = {}
        self.at: dict[tuple[int, int], dict[int, Stored]] = {}
        self.times: dict[int, list[int]] = defaultdict(list)
        self.times_of: dict[tuple[int, int], list[int]] = defaultdict(list)
        self.former: dict[Identity, dict[int, tuple[bool, int]]] = defaultdict(dict)
        self.by_batch: dict[UUID, list[Identity]] = defaultdict(list)
        self.superseded: Counter[tuple[int, Identity, int, bool]] = Counter()
        self.quarantine: Counter[tuple[int, str, str, str]] = Counter()
        self.undone: set[UUID] = set()
        self.known: dict[tuple[int, UUID], tuple[bytes | None, Receipt]] = {}
        self.touched: set[Place] = set()

    # Who holds what

    def add_pack(self, tenant: int, name: str, number: int, tenure_no: int) -> None:
        self.numbers[tenant, name] = number
        self.tenures[number] = [Tenure(tenant, tenure_no)]

    def own_tenures(self, tenant: int, pack: int) -> list[Tenure]:
        return [one for one in self.tenures[pack] if one.tenant == tenant]

    def holder(self, pack: int, ts: int) -> Tenure | None:
        """Who held a pack at a time."""
        return next((one for one in self.tenures[pack] if one.starts <= ts < one.ends), None)

    def move(self, tenant: int, pack: int, starts: int) -> Tenure:
        """The new tenure, whose number isn't known yet. Raises Refusal."""
        last = self.own_tenures(tenant, pack)[-1]
        if not last.starts < starts < last.ends:
            raise Refusal("conflict")
        made = Tenure(tenant, 0, starts, last.ends)
        last.ends = starts
        self.tenures[pack].insert(self.tenures[pack].index(last) + 1, made)
        for ts in self._between(pack, starts - self.rules.gap_ms, FOREVER_MS):
            self._touch(tenant, pack, ts)
        return made

    def hand_over(self, giver: int, taker: int, name: str, starts: int) -> Tenure:
        """The taker's tenure. Raises Refusal."""
        pack = self.numbers[giver, name]
        last = self.tenures[pack][-1]
        if last.tenant != giver:
            raise Refusal("not_found")
        if any(True for _ in self._between(pack, starts, FOREVER_MS)) or last.starts >= starts:
            raise Refusal("conflict")
        last.ends = starts
        self.tenures[pack].append(Tenure(taker, 0, starts))
        self.numbers[taker, name] = pack
        return self.tenures[pack][-1]

    # Batches

    def commit(self, batch: Batch, arrived: int, first: int = 0, end: int | None = None) -> Receipt:
        """The receipt of a batch, or of a part of it, that is committed now."""
        answer = Receipt()
        set_aside: set[tuple[int, str]] = set()
        for index in range(len(batch.readings))[first:end]:
            answer.received += 1
            for item in self._take_in(batch, arrived, index, answer):
                answer.items.append(item)
                set_aside.add((index, item[2]))
        for index, reason in set_aside:
            self.quarantine[batch.tenant, batch.source, batch.raw[index], reason] += 1
        return answer

    def _take_in(self, batch: Batch, arrived: int, index: int, answer: Receipt) -> Iterator[Item]:
        reading = batch.readings[index]
        problem = self._problem(batch, arrived, reading)
        if problem is not None:
            answer.quarantined += 1
            yield index, "quarantined", *problem
            return
        pack = self.numbers[batch.tenant, reading.pack]
        holder = self.holder(pack, reading.ts)
        assert holder is not None
        fresh, conflicts, gone = [], [], []
        here = self.at.get((pack, reading.ts), {})
        for measure, value in reading.values:
            stored = here.get(measure)
            fate = self.former.get((pack, reading.ts, measure), {}).get(value)
            if stored is not None and stored.value == value:
                continue
            if fate is not None:
                if fate[0] or stored is None:
                    gone.append(measure)
            elif stored is None:
                fresh.append((measure, value))
            else:
                conflicts.append(measure)
        for measure, value in fresh:
            self._put((pack, reading.ts, measure), Stored(value, holder.tenant, batch.id))
        if fresh:
            answer.accepted += 1
            if batch.import_id is None and reading.ts < arrived - self.rules.late_after_ms:
                answer.late += 1
        elif conflicts or gone:
            answer.quarantined += 1
            answer.conflicting += bool(conflicts)
        else:
            answer.duplicate += 1
        yield from (
            (index, "quarantined", "deleted", self.rules.measures[measure]) for measure in sorted(gone)
        )
        yield from (
            (index, "conflict", "conflict", self.rules.measures[measure]) for measure in sorted(conflicts)
        )

    def _problem(self, batch: Batch, arrived: int, reading: Reading) -> tuple[str, str | None] | None:
        rules = self.rules
        if reading.ts > arrived + rules.future_ms:
            return "too_far_in_future", "ts"
        if batch.import_id is None and reading.ts < arrived - rules.late_ms:
            return "too_late", "ts"
        pack = self.numbers.get((batch.tenant, reading.pack))
        if pack is None:
            return "unknown_pack", "pack"
        holder = self.holder(pack, reading.ts)
        own_device = batch.device == reading.pack and self.tenures[pack][-1].tenant == batch.tenant
        if holder is None or (holder.tenant != batch.tenant and not own_device):
            return "not_held_then", "ts"
        if not reading.values:
            return "no_measure", None
        for measure, value in sorted(reading.values):
            if not rules.low[measure] <= value <= rules.high[measure]:
                return "out_of_range", rules.measures[measure]
        return None

    # Corrections

    def in_range(
        self, tenant: int, pack: int, starts: int, ends: int, measures: Sequence[int]
    ) -> dict[Identity, int]:
        """The values that a deletion of this range means now."""
        return {
            (pack, ts, measure): stored.value
            for ts in self._between(pack, starts, ends)
            for measure, stored in self.at[pack, ts].items()
            if measure in measures and stored.tenant == tenant
        }

    def of_batches(self, tenant: int, batches: set[UUID]) -> dict[Identity, int]:
        """The values that a deletion of these batches means now."""
        found = {}
        for batch in batches:
            for pack, ts, measure in self.by_batch.get(batch, ()):
                stored = self.at.get((pack, ts), {}).get(measure)
                if stored is not None and stored.batch == batch and stored.tenant == tenant:
                    found[pack, ts, measure] = stored.value
        return found

    def supersede(self, identity: Identity, correction: int, *, deleted: bool) -> None:
        """Take a value out of what is true now."""
        pack, ts, measure = identity
        stored = self.at[pack, ts].pop(measure)
        self.times_of[pack, measure].remove(ts)
        if not self.at[pack, ts]:
            del self.at[pack, ts]
            self.times[pack].remove(ts)
        self.former[identity][stored.value] = deleted, stored.tenant
        self.superseded[correction, identity, stored.value, deleted] += 1
        self._touch(stored.tenant, pack, ts)

    def correct(self, tenant: int, pack: int, ts: int, values: Mapping[int, int], correction: int) -> None:
        """Put values of one reading right."""
        for measure in values:
            if measure in self.at.get((pack, ts), {}):
                self.supersede((pack, ts, measure), correction, deleted=False)
        for measure, value in values.items():
            self._put((pack, ts, measure), Stored(value, tenant, None))

    def ever_stored(self, tenant: int, pack: int, ts: int) -> list[int]:
        """The measures of which a tenant has, or once had, a value then."""
        here = self.at.get((pack, ts), {})
        return [
            measure
            for measure in range(len(self.rules.measures))
            if (measure in here and here[measure].tenant == tenant)
            or any(of == tenant for _, of in self.former.get((pack, ts, measure), {}).values())
        ]

    # What follows from the readings

    def latest(self, pack: int) -> list[tuple[int, int] | None]:
        """Value and time of each measure's latest by event time."""
        found: list[tuple[int, int] | None] = []
        for measure in range(len(self.rules.measures)):
            times = self.times_of[pack, measure]
            found.append((self.at[pack, times[-1]][measure].value, times[-1]) if times else None)
        return found

    def quarter(self, pack: int, tenure: Tenure, starts: int) -> recount.Quarter:
        """One tenure's quarter-hour, recounted."""
        rules = self.rules
        low = max(starts - rules.gap_ms, tenure.starts)
        high = min(starts + QUARTER_MS + rules.gap_ms + 1, tenure.ends)
        moments = []
        for ts in self._between(pack, low, high):
            own = [
                (m, one.value) for m, one in sorted(self.at[pack, ts].items()) if one.tenant == tenure.tenant
            ]
            if own:
                moments.append((ts - starts, tuple(own)))
        return recount.quarter(
            tuple(moments), len(rules.measures), rules.voltage, rules.current, rules.gap_ms
        )

    def window(self, tenant: int, pack: int, starts: int, ends: int) -> recount.Quarter:
        """A tenant's window of whole quarter-hours, all of its tenures together."""
        parts = [
            (start, self.quarter(pack, tenure, start))
            for start in self.quarters_near(pack, starts, ends)
            for tenure in self.own_tenures(tenant, pack)
            if tenure.starts < start + QUARTER_MS and tenure.ends > start
        ]
        return recount.fold(parts, len(self.rules.measures))

    def quarters_near(self, pack: int, starts: int, ends: int) -> list[int]:
        """The starts of the quarter-hours of a span that a pack's readings touch."""
        gap_ms = self.rules.gap_ms
        near = self._between(pack, starts - gap_ms, ends + gap_ms + 1)
        found = {quarter_of(ts + by) for ts in near for by in (-gap_ms, 0, gap_ms)}
        return sorted(start for start in found if starts <= start < ends)

    def take_touched(self) -> set[Place]:
        """The places whose quarter-hours may have changed since this was last asked."""
        touched, self.touched = self.touched, set()
        return touched

    def _put(self, identity: Identity, stored: Stored) -> None:
        pack, ts, measure = identity
        here = self.at.get((pack, ts))
        if here is None:
            here = self.at[pack, ts] = {}
            insort(self.times[pack], ts)
        assert measure not in here
        here[measure] = stored
        insort(self.times_of[pack, measure], ts)
        if stored.batch is not None:
            self.by_batch[stored.batch].append(identity)
        self._touch(stored.tenant, pack, ts)

    def _touch(self, tenant: int, pack: int, ts: int) -> None:
        for near in (ts - self.rules.gap_ms, ts, ts + self.rules.gap_ms):
            self.touched.add((tenant, pack, quarter_of(near)))

    def _between(self, pack: int, starts: int, ends: int) -> list[int]:
        times = self.times[pack]
        return times[bisect_left(times, starts) : bisect_left(times, ends)]


def quarter_of(ts: int) -> int:
    return ts - ts % QUARTER_MS
