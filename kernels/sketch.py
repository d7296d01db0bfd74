"""Live sketches: what is counted of packs by cell and state, moved as readings arrive and time goes by.

A pack stands in one unit at a time. It is lifted out of all counts with what is remembered of it, that is changed, and
it is settled again. Counts are exact; each pack adds one to one bin of state of charge, of state of health, of clock
skew and of age. Extremes are winners of tournaments, so that the pack that holds one is known.

All of it stands in one file, because Numba's cache looks at the file of the compiled function alone.
"""

from numba import njit, types

from kernels.sketch_columns import (
    ABSENT,
    AGE_BIN,
    AGE_LEVELS,
    ARRIVALS_TYPE,
    BIN_THOUSANDTHS,
    CELL_HIGH,
    CELL_LOW,
    CHARGE,
    CHARGE_BIN,
    CHARGE_BINS,
    COLDEST,
    EXTREMES,
    HEALTH,
    HEALTH_BIN,
    HEALTH_BINS,
    HIGHEST_CELL,
    LATEST_TYPE,
    LOWEST_CELL,
    NEVER_MS,
    NEVER_SEEN,
    NONE,
    NOW_S,
    PAGE_BINS,
    PAGE_BITS,
    RATE_SECONDS,
    REPORTING,
    SILENT,
    SILENT_AFTER_S,
    SKETCH_TYPE,
    SKEW_BIN,
    SKEW_MS_MAX,
    SKEW_SIDE,
    SLOTS_USED,
    SPARE_PAGES,
    STATES,
    SWEPT_S,
    TEMPERATURE,
    VALUES,
)

# The functions without a signature are compiled into the ones that carry one.


@njit(nogil=True, inline="always")
def clamped(number, highest):  # type: ignore[no-untyped-def]
    return min(max(number, 0), highest)


@njit(nogil=True)
def skew_bin(skew_ms):  # type: ignore[no-untyped-def]
    """The bin of a signed number: exact below 8, then eight to each doubling; bins grow with the number."""
    size = abs(skew_ms)
    if size < 8:  # noqa: PLR2004
        place = size
    else:
        doublings = 3
        while size >> (doublings + 1):
            doublings += 1
        place = min(8 * (doublings - 2) + ((size >> (doublings - 3)) & 7), SKEW_SIDE - 1)
    return SKEW_BIN + (SKEW_SIDE + place if skew_ms >= 0 else SKEW_SIDE - place)


@njit(nogil=True)
def age_bin(arrived_s, now_s):  # type: ignore[no-untyped-def]
    """The bin of an arrival: at the lowest level of which the newest 64 spans still reach it."""
    level = 0
    while level < AGE_LEVELS - 1 and (now_s >> level) - (arrived_s >> level) >= PAGE_BINS:
        level += 1
    span = max(arrived_s >> level, (now_s >> level) - PAGE_BINS + 1)
    return AGE_BIN + level * PAGE_BINS + (span & (PAGE_BINS - 1))


@njit(nogil=True)
def count(sketch, unit, chosen, change):  # type: ignore[no-untyped-def]
    """Add to a bin; a page is there only while one of its bins isn't empty."""
    column = chosen >> PAGE_BITS
    page = sketch.page_of[unit, column]
    if page == NONE:
        sketch.numbers[SPARE_PAGES] -= 1
        page = sketch.spare[sketch.numbers[SPARE_PAGES]]
        sketch.page_of[unit, column] = page
    sketch.page[page, chosen & (PAGE_BINS - 1)] += change
    sketch.page_total[page] += change
    if sketch.page_total[page] == 0:
        sketch.page_of[unit, column] = NONE
        sketch.spare[sketch.numbers[SPARE_PAGES]] = page
        sketch.numbers[SPARE_PAGES] += 1


@njit(nogil=True)
def weigh(sketch, which, change):  # type: ignore[no-untyped-def]
    """Add a pack to the counts of its unit, or take it out, by what is remembered of it."""
    pack = sketch.pack[which]
    unit = pack["unit"]
    sums = sketch.unit[unit]
    sums["packs"] += change
    if unit % STATES == NEVER_SEEN:
        return
    charge, health = sketch.value[which, CHARGE], sketch.value[which, HEALTH]
    if charge != ABSENT:
        sums["charged"] += change
        sums["charge_sum"] += change * charge
        tenth = (charge + BIN_THOUSANDTHS // 2) // BIN_THOUSANDTHS
        count(sketch, unit, CHARGE_BIN + clamped(tenth, CHARGE_BINS - 1), change)
    if health != ABSENT:
        sums["healthy"] += change
        sums["health_sum"] += change * health
        tenth = (health + BIN_THOUSANDTHS // 2) // BIN_THOUSANDTHS
        count(sketch, unit, HEALTH_BIN + clamped(tenth, HEALTH_BINS - 1), change)
    if pack["arrived_ms"] != NEVER_MS and pack["arrived_tenant"] == sketch.tenant[unit // STATES]:
        sums["arrived"] += change
        if abs(pack["skew_ms"]) > sketch.numbers[SKEW_MS_MAX]:
            sums["beyond"] += change
        count(sketch, unit, skew_bin(pack["skew_ms"]), change)
        count(sketch, unit, age_bin(pack["arrived_ms"] // 1000, sketch.numbers[NOW_S]), change)


@njit(nogil=True)
def link(sketch, which):  # type: ignore[no-untyped-def]
    pack = sketch.pack[which]
    place = (pack["arrived_ms"] // 1000) & (len(sketch.ring) - 1)
    first = sketch.ring[place]
    pack["later"], pack["earlier"] = NONE, first
    if first != NONE:
        sketch.pack[first]["later"] = which
    sketch.ring[place] = which


@njit(nogil=True)
def unlink(sketch, which):  # type: ignore[no-untyped-def]
    pack = sketch.pack[which]
    later, earlier = pack["later"], pack["earlier"]
    if later == NONE:
        sketch.ring[(pack["arrived_ms"] // 1000) & (len(sketch.ring) - 1)] = earlier
    else:
        sketch.pack[later]["earlier"] = earlier
    if earlier != NONE:
        sketch.pack[earlier]["later"] = later


@njit(nogil=True)
def better(sketch, extreme, one, other):  # type: ignore[no-untyped-def]
    """Which of two packs, or of NONE, holds the extreme."""
    if min(one, other) == NONE:
        return max(one, other)
    if extreme == HIGHEST_CELL:
        column = CELL_HIGH
    elif extreme == LOWEST_CELL:
        column = CELL_LOW
    else:
        column = TEMPERATURE
    difference = sketch.value[one, column] - sketch.value[other, column]
    if extreme in (COLDEST, LOWEST_CELL):
        difference = -difference
    return one if difference > 0 or (difference == 0 and one < other) else other


@njit(nogil=True)
def candidate(sketch, extreme, unit, node):  # type: ignore[no-untyped-def]
    """The pack that wins at a node of a unit's tournament; leaves are the nodes from `capacity` on."""
    offset, capacity = unit["offset"], unit["capacity"]
    if node < capacity:
        return sketch.winner[extreme, offset + node]
    if node - capacity >= unit["filled"]:
        return NONE
    which = sketch.member[offset + node - capacity]
    column = TEMPERATURE
    if extreme == HIGHEST_CELL:
        column = CELL_HIGH
    elif extreme == LOWEST_CELL:
        column = CELL_LOW
    return which if sketch.value[which, column] != ABSENT else NONE


@njit(nogil=True)
def play(sketch, extreme, unit, leaf, changed):  # type: ignore[no-untyped-def]
    """Play again what a leaf takes part in, up to where neither the winner nor its value is another one."""
    node = (unit["capacity"] + leaf) >> 1
    while node > 0:
        left = candidate(sketch, extreme, unit, 2 * node)
        right = candidate(sketch, extreme, unit, 2 * node + 1)
        winner = better(sketch, extreme, left, right)
        if winner == sketch.winner[extreme, unit["offset"] + node] and winner != changed:
            return
        sketch.winner[extreme, unit["offset"] + node] = winner
        node >>= 1


@njit(nogil=True)
def leave(sketch, which):  # type: ignore[no-untyped-def]
    """Give up a pack's slot; the unit's last pack takes it."""
    pack = sketch.pack[which]
    unit = sketch.unit[pack["unit"]]
    hole = pack["slot"]
    last = unit["filled"] - 1
    unit["filled"] = last
    for extreme in range(EXTREMES):
        play(sketch, extreme, unit, last, which)
    if hole == last:
        return
    moved = sketch.member[unit["offset"] + last]
    sketch.member[unit["offset"] + hole] = moved
    sketch.pack[moved]["slot"] = hole
    for extreme in range(EXTREMES):
        play(sketch, extreme, unit, hole, moved)


@njit(nogil=True)
def enter(sketch, which):  # type: ignore[no-untyped-def]
    """Take a slot of the pack's unit, which has room."""
    pack = sketch.pack[which]
    unit = sketch.unit[pack["unit"]]
    place = unit["filled"]
    unit["filled"] = place + 1
    sketch.member[unit["offset"] + place] = which
    pack["slot"] = place
    for extreme in range(EXTREMES):
        play(sketch, extreme, unit, place, which)


@njit(nogil=True)
def arrive(sketch, arrivals, row):  # type: ignore[no-untyped-def]
    """Remember that a live reading came, if the pack's present holder sent it."""
    pack = sketch.pack[arrivals.pack[row]]
    cell = pack["cell"]
    if cell == NONE or sketch.tenant[cell] != arrivals.tenant[row]:
        return
    measured = False
    for measure in range(arrivals.thousandths.shape[0]):
        measured = measured or arrivals.thousandths[measure, row] != ABSENT
    if not measured:
        return
    arrived_ms, ts_ms = arrivals.arrived_ms[row], arrivals.ts_ms[row]
    if pack["arrived_tenant"] != arrivals.tenant[row]:
        pack["arrived_tenant"] = arrivals.tenant[row]
        pack["arrived_ms"], pack["newest_ts_ms"] = NEVER_MS, NEVER_MS
    skew_ms = arrived_ms - ts_ms
    newest_ms = pack["newest_ts_ms"]
    if ts_ms > newest_ms or (ts_ms == newest_ms and skew_ms < pack["skew_ms"]):
        pack["newest_ts_ms"], pack["skew_ms"] = ts_ms, skew_ms
    # What arrived in the second that is under way belongs to it, whatever the clock says meanwhile.
    pack["arrived_ms"] = max(pack["arrived_ms"], min(arrived_ms, sketch.numbers[NOW_S] * 1000 + 999))
    arrived_s = arrived_ms // 1000
    column = arrived_s & (RATE_SECONDS - 1)
    if sketch.rate_s[column] < arrived_s:
        sketch.rate_s[column] = arrived_s
        sketch.rate[:, column] = 0
    if sketch.rate_s[column] == arrived_s:
        sketch.rate[cell, column] += 1


@njit(
    types.void(SKETCH_TYPE, types.int32[::1], ARRIVALS_TYPE, types.int64, types.int64),
    nogil=True,
    cache=True,
)
def lift(sketch, packs, arrivals, first, end):  # type: ignore[no-untyped-def]
    """Take packs out of all counts, and remember arrivals. Follow up with `units_of`, `make_room` and `settle`.

    packs int32[n], each once. The arrivals from row `first` to `end` are of these packs.
    """
    for which in packs:
        unit = sketch.pack[which]["unit"]
        if unit != NONE:
            weigh(sketch, which, -1)
            if unit % STATES == REPORTING:
                unlink(sketch, which)
    for row in range(first, end):
        arrive(sketch, arrivals, row)


@njit(types.void(SKETCH_TYPE, types.int32[::1], LATEST_TYPE, types.int32[::1]), nogil=True, cache=True)
def units_of(sketch, packs, latest, wanted):  # type: ignore[no-untyped-def]
    """Set wanted int32[n] to the unit that each pack belongs to, NONE while nobody holds it. O(n)."""
    due_s = sketch.numbers[NOW_S] - sketch.numbers[SILENT_AFTER_S]
    for position in range(len(packs)):
        which = packs[position]
        pack = sketch.pack[which]
        cell = pack["cell"]
        wanted[position] = NONE
        if cell == NONE:
            continue
        state = NEVER_SEEN
        if pack["arrived_ms"] != NEVER_MS and pack["arrived_tenant"] == sketch.tenant[cell]:
            state = REPORTING if pack["arrived_ms"] // 1000 > due_s else SILENT
        elif latest.watermark_ms[which] != NEVER_MS and latest.watermark_ms[which] >= pack["since_ms"]:
            state = SILENT
        wanted[position] = STATES * cell + state


@njit(nogil=True)
def move_slots(sketch, unit, start, capacity):  # type: ignore[no-untyped-def]
    before, had = unit["offset"], unit["capacity"]
    for place in range(unit["filled"]):
        sketch.member[start + place] = sketch.member[before + place]
    if had > 0:
        size = 0
        while (1 << size) < had:
            size += 1
        sketch.member[before] = sketch.room[size]
        sketch.room[size] = before
    unit["offset"], unit["capacity"] = start, capacity
    for extreme in range(EXTREMES):
        for node in range(capacity - 1, 0, -1):
            left = candidate(sketch, extreme, unit, 2 * node)
            right = candidate(sketch, extreme, unit, 2 * node + 1)
            sketch.winner[extreme, start + node] = better(sketch, extreme, left, right)


@njit(types.int64(SKETCH_TYPE, types.int32[::1], types.int32[::1], types.int64), nogil=True, cache=True)
def make_room(sketch, units, more, first):  # type: ignore[no-untyped-def]
    """Give units room for so many more packs; returns how many have it, fewer than all when slots run out.

    units int32[u], each once, from `first` on; more int32[u].
    """
    for position in range(first, len(units)):
        unit = sketch.unit[units[position]]
        needed = unit["filled"] + more[position]
        if needed <= unit["capacity"]:
            continue
        size = 0
        while (1 << size) < needed:
            size += 1
        capacity = 1 << size
        start = sketch.room[size]
        if start != NONE:
            sketch.room[size] = sketch.member[start]
        elif sketch.numbers[SLOTS_USED] + capacity <= len(sketch.member):
            start = sketch.numbers[SLOTS_USED]
            sketch.numbers[SLOTS_USED] += capacity
        else:
            return position
        move_slots(sketch, unit, start, capacity)
    return len(units)


@njit(
    types.void(SKETCH_TYPE, types.int32[::1], types.int32[::1], LATEST_TYPE, types.int64[::1]),
    nogil=True,
    cache=True,
)
def settle(sketch, packs, wanted, latest, row_of):  # type: ignore[no-untyped-def]
    """Count packs in their units, with their latest values; after `lift`, and `make_room` for those that move.

    row_of int64[VALUES]: the rows of the counted values among all measures.
    """
    for position in range(len(packs)):
        which = packs[position]
        pack = sketch.pack[which]
        before, unit = pack["unit"], wanted[position]
        moves = before != unit
        if moves and before != NONE and before % STATES != NEVER_SEEN:
            leave(sketch, which)
        changed = False
        for column in range(VALUES):
            row = row_of[column]
            value = latest.thousandths[row, which] if latest.ts_ms[row, which] >= pack["since_ms"] else ABSENT
            if value != sketch.value[which, column]:
                sketch.value[which, column] = value
                changed = changed or column >= TEMPERATURE
        pack["unit"] = unit
        if unit == NONE:
            continue
        if unit % STATES != NEVER_SEEN:
            if moves:
                enter(sketch, which)
            elif changed:
                for extreme in range(EXTREMES):
                    play(sketch, extreme, sketch.unit[unit], pack["slot"], which)
        weigh(sketch, which, 1)
        if unit % STATES == REPORTING:
            link(sketch, which)


@njit(types.int64(SKETCH_TYPE, types.int32[::1]), nogil=True, cache=True)
def fall_silent(sketch, found):  # type: ignore[no-untyped-def]
    """The number of packs that have been silent too long and are counted as reporting, up to the length of `found`.

    found int32[n] is filled with them. They are to be lifted and settled, and the rest asked for, before time goes on.
    """
    due_s = sketch.numbers[NOW_S] - sketch.numbers[SILENT_AFTER_S]
    made = 0
    # Beyond one round of the ring the same places come again.
    swept_s = max(sketch.numbers[SWEPT_S], due_s - len(sketch.ring))
    while swept_s < due_s:
        which = sketch.ring[(swept_s + 1) & (len(sketch.ring) - 1)]
        while which != NONE:
            if sketch.pack[which]["arrived_ms"] // 1000 <= due_s:
                if made == len(found):
                    return made
                found[made] = which
                made += 1
            which = sketch.pack[which]["earlier"]
        swept_s += 1
        sketch.numbers[SWEPT_S] = swept_s
    return made


@njit(types.void(SKETCH_TYPE, types.int64, types.int64), nogil=True, cache=True)
def age_level(sketch, now_s, level):  # type: ignore[no-untyped-def]
    """Let the span that the newest 64 of a level don't reach any more, at `now_s`, move up a level.

    To be asked for each second before NOW_S is set to it: ascending, the levels k of which it is a multiple of 2**k.
    """
    column = (AGE_BIN >> PAGE_BITS) + level
    gone = (now_s >> level) - PAGE_BINS
    for unit in range(len(sketch.unit)):
        page = sketch.page_of[unit, column]
        if page == NONE:
            continue
        packs = sketch.page[page, gone & (PAGE_BINS - 1)]
        if packs == 0:
            continue
        count(sketch, unit, (column << PAGE_BITS) + (gone & (PAGE_BINS - 1)), -packs)
        if level < AGE_LEVELS - 1:
            above = ((column + 1) << PAGE_BITS) + ((gone >> 1) & (PAGE_BINS - 1))
        else:
            above = (column << PAGE_BITS) + ((gone + 1) & (PAGE_BINS - 1))
        count(sketch, unit, above, packs)
