"""What is counted of packs by place and state, for answers that look at no pack (rule E12)."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from domain.clock import MILLISECONDS_PER_SECOND
from domain.measures import MEASURE_INDEX
from domain.packs import Place
from domain.readings import ABSENT, Int32Array, Int64Array, LastArrivals, LiveReadings
from domain.tenancy import TenantId
from kernels import sketch as kernels
from kernels import sketch_columns as columns
from kernels.identity import sorted_order
from kernels.sketch_columns import NONE, STATES, Arrivals, Latest, Merged, Sketch
from kernels.sketch_merge import merge

_COUNTED = (
    "state_of_charge_pct",
    "state_of_health_pct",
    "temperature_c",
    "cell_voltage_min_v",
    "cell_voltage_max_v",
)
_ROW_OF = np.array([MEASURE_INDEX[name] for name in _COUNTED], np.int64)

_PACKS_AT_ONCE: Final = 4096
"""Packs that are moved under one hold of the lock, which answers wait for."""
_SILENT_AT_ONCE: Final = 50_000
"""Packs that fall silent before the writer goes on with readings; the rest follows in its next turns."""
_SECONDS_AT_ONCE: Final = 3600
"""Seconds that are let go by one by one; beyond, everything is counted anew."""
_PAGES_A_PACK: Final = 4
"""Bins that a pack is counted in."""


class LiveSketch:
    """Counts, moved by one thread, the writer's, and read by others; each hold of the lock is short.

    A cell is a place, and counts its packs apart by state: never seen, silent, reporting.
    """

    def __init__(self, silent_after_s: int, skew_s_max: int, now_s: int) -> None:
        self._lock = threading.Lock()
        self._cells: dict[Place, int] = {}
        self._of_tenant: dict[TenantId, list[tuple[int, Place]]] = {}
        self._moved: list[Int32Array] = []
        self._rates_since_s = now_s
        seconds = 1 << (silent_after_s + 1).bit_length()
        self._sketch = _empty(seconds)
        numbers = self._sketch.numbers
        numbers[columns.NOW_S], numbers[columns.SWEPT_S] = now_s, now_s - silent_after_s
        numbers[columns.SILENT_AFTER_S] = silent_after_s
        numbers[columns.SKEW_MS_MAX] = skew_s_max * MILLISECONDS_PER_SECOND
        self._make_cells(1)

    @property
    def now_s(self) -> int:
        """The second up to which time has gone by here."""
        return int(self._sketch.numbers[columns.NOW_S])

    @property
    def silent_after_s(self) -> int:
        return int(self._sketch.numbers[columns.SILENT_AFTER_S])

    def cell_of(self, place: Place) -> int:
        """The number of a place's cell, made when it is new."""
        cell = self._cells.get(place)
        if cell is None:
            with self._lock:
                cell = self._cells[place] = len(self._cells)
                self._make_cells(cell + 1)
                self._sketch.tenant[cell] = place.tenant_id
                self._of_tenant.setdefault(place.tenant_id, []).append((cell, place))
        return cell

    def cells_of(self, tenant: TenantId) -> list[tuple[int, Place]]:
        """The cells of a tenant with their places."""
        with self._lock:
            return list(self._of_tenant.get(tenant, ()))

    def tenants_of(self, pack: Int32Array) -> Int32Array:
        """Who holds each pack now, by what is known here: int32[n], NONE for nobody."""
        self._make_packs(pack)
        cell = self._sketch.pack["cell"][pack]
        return np.where(cell == NONE, np.int32(NONE), self._sketch.tenant[np.maximum(cell, 0)])

    def states_of(self, pack: Int32Array) -> Int32Array:
        """The state in which each pack is counted: int32[n], NONE for one that is held by nobody."""
        self._make_packs(pack)
        unit = self._sketch.pack["unit"][pack]
        return np.where(unit == NONE, np.int32(NONE), unit % STATES)

    def remember(self, arrivals: LastArrivals) -> None:
        """Take over last arrivals of packs that aren't counted yet."""
        self._make_packs(arrivals.pack)
        packs = self._sketch.pack
        packs["arrived_tenant"][arrivals.pack] = arrivals.tenant
        packs["arrived_ms"][arrivals.pack] = np.minimum(arrivals.arrived_ms, self._end_of_now_ms())
        packs["newest_ts_ms"][arrivals.pack] = arrivals.newest_ts_ms
        packs["skew_ms"][arrivals.pack] = arrivals.skew_ms

    def _end_of_now_ms(self) -> int:
        return (self.now_s + 1) * MILLISECONDS_PER_SECOND - 1

    def arrivals_of(self, pack: Int32Array) -> LastArrivals:
        """The last arrivals of these packs; NEVER_MS for one that none came of."""
        self._make_packs(pack)
        found = self._sketch.pack[pack]
        return LastArrivals(
            pack, found["arrived_tenant"], found["arrived_ms"], found["newest_ts_ms"], found["skew_ms"]
        )

    def place(self, pack: Int32Array, cell: Int32Array, since_ms: Int64Array, latest: Latest) -> None:
        """Count packs, each once, in other cells from now on; NONE for those that nobody holds."""
        self._make_packs(pack)
        for start in range(0, len(pack), _PACKS_AT_ONCE):
            some = slice(start, start + _PACKS_AT_ONCE)
            with self._lock:
                kernels.lift(self._sketch, pack[some])
                self._sketch.pack["cell"][pack[some]] = cell[some]
                self._sketch.pack["since_ms"][pack[some]] = since_ms[some]
                self._settle(pack[some], latest)

    def arrive(self, pack: Int32Array, live: LiveReadings, latest: Latest) -> None:
        """Count packs, ascending and each once, by their latest values and live readings; those of others count not."""
        self._make_packs(pack)
        order = sorted_order(live.pack, live.ts_ms)
        arrivals = Arrivals(
            live.pack[order],
            live.tenant[order],
            live.ts_ms[order],
            live.arrived_ms[order],
            np.ascontiguousarray(live.thousandths[:, order]),
        )
        moving, wanted = np.empty(_PACKS_AT_ONCE, np.int32), np.empty(_PACKS_AT_ONCE, np.int32)
        for start in range(0, len(pack), _PACKS_AT_ONCE):
            some = pack[start : start + _PACKS_AT_ONCE]
            first = int(np.searchsorted(arrivals.pack, some[0], "left"))
            with self._lock:
                self._make_pages(_PAGES_A_PACK * len(some))
                left = kernels.follow(self._sketch, some, arrivals, first, latest, _ROW_OF, moving, wanted)
                self._move(moving[:left].copy(), wanted[:left], latest)

    def _settle(self, pack: Int32Array, latest: Latest) -> None:
        """Count packs that have been lifted, wherever they belong."""
        wanted = np.empty(len(pack), np.int32)
        kernels.units_of(self._sketch, pack, latest, wanted)
        self._move(pack, wanted, latest)

    def _move(self, pack: Int32Array, wanted: Int32Array, latest: Latest) -> None:
        """Count packs that have been lifted in these units."""
        if len(pack) == 0:
            return
        moved = wanted != self._sketch.pack["unit"][pack]
        entered = wanted[moved]
        entered = entered[(entered != NONE) & (entered % STATES != columns.NEVER_SEEN)]
        self._moved.append(pack[moved])
        self._make_slots(*np.unique(entered, return_counts=True))
        self._make_pages(_PAGES_A_PACK * len(pack))
        kernels.settle(self._sketch, pack, wanted, latest, _ROW_OF)

    def take_moved(self) -> list[Int32Array]:
        """The packs that have changed their cell or state since this was asked last."""
        moved, self._moved = self._moved, []
        return moved

    def pass_time(self, now_s: int, latest: Latest) -> None:
        """Let time go by up to a second, and packs fall silent; the clock may have been set."""
        if not 0 <= now_s - self.now_s <= _SECONDS_AT_ONCE:
            self._count_anew(now_s, latest)
        for second in range(self.now_s + 1, now_s + 1):
            with self._lock:
                self._pass_second(second)
        found = np.empty(_PACKS_AT_ONCE, np.int32)
        for _ in range(0, _SILENT_AT_ONCE, _PACKS_AT_ONCE):
            silent = found[: kernels.fall_silent(self._sketch, found)].copy()
            if len(silent) == 0:
                return
            with self._lock:
                kernels.lift(self._sketch, silent)
                self._settle(silent, latest)

    def _pass_second(self, second: int) -> None:
        self._sketch = _age(self._sketch, second)

    def _count_anew(self, now_s: int, latest: Latest) -> None:
        """Count all packs as they are, at another time; for a clock that was set, or has stood for long."""
        known = self._sketch.pack
        held = np.flatnonzero(known["cell"] != NONE).astype(np.int32)
        arrived = np.flatnonzero(known["arrived_ms"] != columns.NEVER_MS).astype(np.int32)
        anew = LiveSketch(self.silent_after_s, 0, now_s)
        anew._sketch.numbers[columns.SKEW_MS_MAX] = self._sketch.numbers[columns.SKEW_MS_MAX]
        for place in self._cells:
            anew.cell_of(place)
        anew.remember(self.arrivals_of(arrived))
        anew.place(held, known["cell"][held], known["since_ms"][held], latest)
        self._moved += anew.take_moved()
        with self._lock:
            self._sketch, self._rates_since_s = anew._sketch, now_s

    def merged(
        self, units: Int32Array, bounds: Int64Array, percents: Int64Array, late_percents: Int64Array
    ) -> Merged:
        """Figures of groups of units: the k-th is of units[bounds[k] : bounds[k + 1]]. See `kernels.sketch_merge`."""
        made = _nothing_merged(len(bounds) - 1, len(percents), len(late_percents))
        bins = np.zeros(columns.BINS, np.int32)
        with self._lock:
            merge(self._sketch, units, bounds, percents, late_percents, bins, made)
        return made

    def rates_of(self, cells: Int32Array, window_s: int) -> tuple[Int64Array, int]:
        """Live readings of each cell, int64[n], that arrived in the last full seconds, and of how many seconds."""
        with self._lock:
            now_s, second = self.now_s, self._sketch.rate_s
            window_s = min(window_s, now_s - self._rates_since_s)
            chosen = (second < now_s) & (second >= now_s - window_s)
            return self._sketch.rate[cells][:, chosen].sum(axis=1, dtype=np.int64), window_s

    def counts(self) -> "Counts":
        """What is counted in each cell now, copied."""
        with self._lock:
            sketch, places = self._sketch, tuple(self._cells)
            units = STATES * len(places)
            unit = sketch.unit[:units].copy()
            used = sketch.page_of[:units]
            pages = np.unique(used[used != NONE])
            page_of = np.where(used == NONE, NONE, np.searchsorted(pages, used)).astype(np.int32)
            page = sketch.page[pages]
            holder, extreme = _extremes_of(sketch, units)
            return Counts(self.now_s, places, unit, page_of, page, holder, extreme)

    def forget_rates(self) -> None:
        """Count readings a second from now on."""
        with self._lock:
            self._sketch.rate_s[:] = 0
            self._rates_since_s = self.now_s

    def sizes(self) -> dict[str, int]:
        """Bytes by what they grow with."""
        of = self._sketch
        return {
            "packs": of.pack.nbytes + of.value.nbytes + of.member.nbytes + of.winner.nbytes,
            "cells": of.unit.nbytes + of.page_of.nbytes + of.rate.nbytes + of.tenant.nbytes,
            "pages": of.page.nbytes + of.page_total.nbytes + of.spare.nbytes,
        }

    # Room, which only grows.

    def _make_packs(self, pack: Int32Array) -> None:
        have = len(self._sketch.pack)
        if len(pack) == 0 or int(pack.max()) < have:
            return
        wanted = max(int(pack.max()) + 1, have + have // 2, _PACKS_AT_ONCE)
        packs = np.zeros(wanted, columns.PACK)
        packs[:have] = self._sketch.pack
        _blank_packs(packs[have:])
        value = _grown(self._sketch.value, wanted, ABSENT)
        with self._lock:
            self._sketch = self._sketch._replace(pack=packs, value=value)

    def _make_cells(self, wanted: int) -> None:
        have = len(self._sketch.tenant)
        if wanted <= have:
            return
        more = max(wanted, 2 * have, 16)
        unit = np.zeros(STATES * more, columns.UNIT)
        unit[: STATES * have] = self._sketch.unit
        self._sketch = self._sketch._replace(
            unit=unit,
            page_of=_grown(self._sketch.page_of, STATES * more, NONE),
            rate=_grown(self._sketch.rate, more, 0),
            tenant=_grown(self._sketch.tenant, more, 0),
        )

    def _make_pages(self, spare: int) -> None:
        self._sketch = _with_pages(self._sketch, spare)

    def _make_slots(self, units: Int32Array, more: Int64Array) -> None:
        done, counts = 0, more.astype(np.int32)
        while (done := kernels.make_room(self._sketch, units, counts, done)) < len(units):
            unit = self._sketch.unit[units[done]]
            wanted = len(self._sketch.member) + max(
                len(self._sketch.member) // 2, 2 * int(unit["filled"] + counts[done]), _PACKS_AT_ONCE
            )
            winner = np.full((columns.EXTREMES, wanted), NONE, np.int32)
            winner[:, : len(self._sketch.member)] = self._sketch.winner
            self._sketch = self._sketch._replace(
                member=_grown(self._sketch.member, wanted, NONE), winner=winner
            )


def _grown(column: Int32Array, rows: int, filled_with: int) -> Int32Array:
    larger = np.full((rows, *column.shape[1:]), filled_with, np.int32)
    larger[: len(column)] = column
    return larger


def _blank_packs(packs: columns.Records) -> None:
    for name in ("cell", "unit", "slot", "arrived_tenant", "later", "earlier"):
        packs[name] = NONE
    packs["arrived_ms"], packs["newest_ts_ms"] = columns.NEVER_MS, columns.NEVER_MS


def _empty(seconds: int) -> Sketch:
    return Sketch(
        pack=np.zeros(0, columns.PACK),
        value=np.zeros((0, columns.VALUES), np.int32),
        unit=np.zeros(0, columns.UNIT),
        page_of=np.zeros((0, columns.PAGES), np.int32),
        page=np.zeros((0, columns.PAGE_BINS), np.int32),
        page_total=np.zeros(0, np.int32),
        spare=np.zeros(0, np.int32),
        member=np.zeros(0, np.int32),
        winner=np.zeros((columns.EXTREMES, 0), np.int32),
        ring=np.full(seconds, NONE, np.int32),
        rate=np.zeros((0, columns.RATE_SECONDS), np.int32),
        rate_s=np.zeros(columns.RATE_SECONDS, np.int64),
        tenant=np.zeros(0, np.int32),
        numbers=np.zeros(columns.NUMBERS, np.int64),
        room=np.full(columns.SIZES, NONE, np.int32),
    )


def _nothing_merged(groups: int, quantiles: int, late_quantiles: int) -> Merged:
    return Merged(
        packs=np.zeros((groups, STATES), np.int64),
        measured=np.zeros((groups, 2), np.int64),
        sums=np.zeros((groups, 2), np.int64),
        quantiles=np.zeros((groups, 2, quantiles), np.int64),
        buckets=np.zeros((groups, 2, columns.HEALTH_BUCKETS), np.int64),
        holder=np.full((groups, columns.EXTREMES), NONE, np.int32),
        extreme=np.full((groups, columns.EXTREMES), ABSENT, np.int32),
        arrived=np.zeros(groups, np.int64),
        beyond=np.zeros(groups, np.int64),
        age_s=np.zeros((groups, late_quantiles), np.int64),
        skew_ms=np.zeros((groups, late_quantiles), np.int64),
    )


@dataclass(slots=True, eq=False)
class Counts:
    """What is counted in the cells of some places, apart from the packs themselves.

    unit UNIT[units]; page_of int32[units, PAGES] and page int32[pages, PAGE_BINS] as in a sketch; holder and extreme
    int32[EXTREMES, units]: the pack that holds each extreme of a unit, NONE without, and its value.
    """

    now_s: int
    places: tuple[Place, ...]
    unit: columns.Records
    page_of: Int32Array
    page: Int32Array
    holder: Int32Array
    extreme: Int32Array

    def pass_time(self, now_s: int) -> None:
        """Let time go by up to a second, for the ages of last arrivals."""
        sketch = self._sketch()
        for second in range(max(self.now_s, now_s - _SECONDS_AT_ONCE) + 1, now_s + 1):
            sketch = _age(sketch, second)
        self.page_of, self.page, self.now_s = sketch.page_of, sketch.page, now_s

    @staticmethod
    def joined(parts: "Sequence[Counts]", now_s: int) -> "Counts":
        """The counts of several as one; cells follow one another."""
        if not parts:
            nothing = _empty(1)
            return Counts(
                now_s, (), nothing.unit, nothing.page_of, nothing.page, nothing.winner, nothing.winner
            )
        firsts = np.cumsum([0, *(len(part.page) for part in parts[:-1])])
        return Counts(
            now_s,
            tuple(place for part in parts for place in part.places),
            np.concatenate([part.unit for part in parts]),
            np.concatenate(
                [
                    np.where(part.page_of == NONE, NONE, part.page_of + first).astype(np.int32)
                    for part, first in zip(parts, firsts, strict=True)
                ]
            ),
            np.concatenate([part.page for part in parts]),
            np.concatenate([part.holder for part in parts], axis=1),
            np.concatenate([part.extreme for part in parts], axis=1),
        )

    def merged(
        self, units: Int32Array, bounds: Int64Array, percents: Int64Array, late_percents: Int64Array
    ) -> Merged:
        """Figures of groups of units, as `LiveSketch.merged` gives them."""
        made = _nothing_merged(len(bounds) - 1, len(percents), len(late_percents))
        merge(self._sketch(), units, bounds, percents, late_percents, np.zeros(columns.BINS, np.int32), made)
        held = made.holder != NONE
        made.holder[held] = self.holder.ravel()[made.holder[held]]
        return made

    def _sketch(self) -> Sketch:
        """A sketch in which each holder of an extreme stands as a pack of its own: its place in `holder`."""
        units = len(self.unit)
        unit, stand_ins = self.unit.copy(), np.arange(columns.EXTREMES * units, dtype=np.int32)
        # Two nodes a unit; the winners are at the second one.
        unit["offset"], unit["capacity"] = 2 * np.arange(units), 2
        winner = np.full((columns.EXTREMES, 2 * units), NONE, np.int32)
        winner[:, 1::2] = np.where(self.holder == NONE, NONE, stand_ins.reshape(columns.EXTREMES, units))
        value = np.repeat(self.extreme.reshape(-1, 1), columns.VALUES, axis=1)
        numbers = np.zeros(columns.NUMBERS, np.int64)
        numbers[columns.NOW_S] = self.now_s
        return _empty(1)._replace(
            unit=unit,
            page_of=self.page_of,
            page=self.page,
            page_total=self.page.sum(axis=1, dtype=np.int32),
            spare=np.full(len(self.page), NONE, np.int32),
            member=np.full(2 * units, NONE, np.int32),
            winner=winner,
            value=np.ascontiguousarray(value),
            numbers=numbers,
        )


def _extremes_of(sketch: Sketch, units: int) -> tuple[Int32Array, Int32Array]:
    """The pack that holds each extreme of each unit, NONE without, and its value: int32[EXTREMES, units] each."""
    unit = sketch.unit[:units]
    filled = unit["filled"] > 0
    tree = filled & (unit["capacity"] > 1)
    single = filled & (unit["capacity"] == 1)
    holder = np.full((columns.EXTREMES, units), NONE, np.int32)
    extreme = np.full((columns.EXTREMES, units), ABSENT, np.int32)
    column = (columns.TEMPERATURE, columns.TEMPERATURE, columns.CELL_HIGH, columns.CELL_LOW)
    for one in range(columns.EXTREMES):
        holder[one, tree] = sketch.winner[one, unit["offset"][tree] + 1]
        holder[one, single] = sketch.member[unit["offset"][single]]
        held = holder[one] != NONE
        extreme[one, held] = sketch.value[holder[one, held], column[one]]
        holder[one, extreme[one] == ABSENT] = NONE
    return holder, extreme


def _age(sketch: Sketch, second: int) -> Sketch:
    """Let a second go by; the sketch, with more pages where they are needed."""
    for level in range(columns.AGE_LEVELS):
        if second % (1 << level):
            break
        column = columns.AGE_BIN // columns.PAGE_BINS + level
        sketch = _with_pages(sketch, int(np.count_nonzero(sketch.page_of[:, column] != NONE)))
        kernels.age_level(sketch, second, level)
    sketch.numbers[columns.NOW_S] = second
    return sketch


def _with_pages(sketch: Sketch, spare: int) -> Sketch:
    """The sketch with at least so many empty pages."""
    numbers, have = sketch.numbers, len(sketch.page)
    missing = spare - int(numbers[columns.SPARE_PAGES])
    if missing <= 0:
        return sketch
    wanted = have + max(missing, have // 2)
    larger = sketch._replace(
        page=_grown(sketch.page, wanted, 0),
        page_total=_grown(sketch.page_total, wanted, 0),
        spare=_grown(sketch.spare, wanted, NONE),
    )
    first = int(numbers[columns.SPARE_PAGES])
    larger.spare[first : first + wanted - have] = np.arange(have, wanted)
    numbers[columns.SPARE_PAGES] += wanted - have
    return larger
