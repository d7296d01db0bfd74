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
    BARE,
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


@njit(**BARE)
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


@njit(**BARE)
def age_bin(arrived_s, now_s):  # type: ignore[no-untyped-def]
    """The bin of an arrival: at the lowest level of which the newest 64 spans still reach it."""
    level = 0
    while level < AGE_LEVELS - 1 and (now_s >> level) - (arrived_s >> level) >= PAGE_BINS:
        level += 1
    span = max(arrived_s >> level, (now_s >> level) - PAGE_BINS + 1)
    return AGE_BIN + level * PAGE_BINS + (span & (PAGE_BINS - 1))


@njit(**BARE)
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


@njit(**BARE)
def has_arrived(sketch, which, cell):  # type: ignore[no-untyped-def]
    """Whether the holder at a cell has sent a live reading of the pack."""
    pack = sketch.pack[which]
    return pack["arrived_ms"] != NEVER_MS and pack["arrived_tenant"] == sketch.tenant[cell]


@njit(**BARE)
def share_bin(first, thousandths, bins):  # type: ignore[no-untyped-def]
    """The bin of a share, rounded to tenths of a percent."""
    if thousandths == ABSENT:
        return NONE
    return first + min(max((thousandths + BIN_THOUSANDTHS // 2) // BIN_THOUSANDTHS, 0), bins - 1)


@njit(**BARE)
def bins_of(sketch, which):  # type: ignore[no-untyped-def]
    """The bins in which a pack is counted, by what is remembered of it; NONE where in none."""
    pack = sketch.pack[which]
    unit = pack["unit"]
    if unit == NONE or unit % STATES == NEVER_SEEN:
        return NONE, NONE, NONE, NONE
    skew, age = NONE, NONE
    if has_arrived(sketch, which, unit // STATES):
        skew = skew_bin(pack["skew_ms"])
        age = age_bin(pack["arrived_ms"] // 1000, sketch.numbers[NOW_S])
    charge = share_bin(CHARGE_BIN, sketch.value[which, CHARGE], CHARGE_BINS)
    health = share_bin(HEALTH_BIN, sketch.value[which, HEALTH], HEALTH_BINS)
    return charge, health, skew, age


@njit(**BARE)
def recount(sketch, unit, before, now):  # type: ignore[no-untyped-def]
    """Count a pack of a unit in a bin instead of another; either may be NONE."""
    if before != now:
        if before != NONE:
            count(sketch, unit, before, -1)
        if now != NONE:
            count(sketch, unit, now, 1)


@njit(**BARE)
def sum_up(sketch, which, change):  # type: ignore[no-untyped-def]
    """Add a pack to the sums of its unit, or take it out, by what is remembered of it."""
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
    if health != ABSENT:
        sums["healthy"] += change
        sums["health_sum"] += change * health
    if has_arrived(sketch, which, unit // STATES):
        sums["arrived"] += change
        if abs(pack["skew_ms"]) > sketch.numbers[SKEW_MS_MAX]:
            sums["beyond"] += change


@njit(**BARE)
def link(sketch, which):  # type: ignore[no-untyped-def]
    pack = sketch.pack[which]
    place = (pack["arrived_ms"] // 1000) & (len(sketch.ring) - 1)
    first = sketch.ring[place]
    pack["later"], pack["earlier"] = NONE, first
    if first != NONE:
        sketch.pack[first]["later"] = which
    sketch.ring[place] = which


@njit(**BARE)
def unlink(sketch, which):  # type: ignore[no-untyped-def]
    pack = sketch.pack[which]
    later, earlier = pack["later"], pack["earlier"]
    if later == NONE:
        sketch.ring[(pack["arrived_ms"] // 1000) & (len(sketch.ring) - 1)] = earlier
    else:
        sketch.pack[later]["earlier"] = earlier
    if earlier != NONE:
        sketch.pack[earlier]["later"] = later


@njit(**BARE)
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


@njit(**BARE)
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


@njit(**BARE)
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


@njit(**BARE)
def play_all(sketch, which):  # type: ignore[no-untyped-def]
    """Play all of a pack's tournaments again."""
    pack = sketch.pack[which]
    for extreme in range(EXTREMES):
        play(sketch, extreme, sketch.unit[pack["unit"]], pack["slot"], which)


@njit(**BARE)
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


@njit(**BARE)
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


@njit(**BARE)
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


@njit(**BARE)
def lift_one(sketch, which):  # type: ignore[no-untyped-def]
    """Take a counted pack out of the sums of its unit and out of its second, but not out of bins."""
    sum_up(sketch, which, -1)
    if sketch.pack[which]["unit"] % STATES == REPORTING:
        unlink(sketch, which)


@njit(types.void(SKETCH_TYPE, types.int32[::1]), cache=True, **BARE)
def lift(sketch, packs):  # type: ignore[no-untyped-def]
    """Take packs int32[n], each once, out of all counts. Follow up with `units_of`, `make_room` and `settle`."""
    for which in packs:
        unit = sketch.pack[which]["unit"]
        if unit == NONE:
            continue
        lift_one(sketch, which)
        for chosen in bins_of(sketch, which):
            recount(sketch, unit, chosen, NONE)


@njit(**BARE)
def unit_of(sketch, which, latest):  # type: ignore[no-untyped-def]
    """The unit that a pack belongs to, NONE while nobody holds it."""
    pack = sketch.pack[which]
    cell = pack["cell"]
    if cell == NONE:
        return NONE
    state = NEVER_SEEN
    if has_arrived(sketch, which, cell):
        due_s = sketch.numbers[NOW_S] - sketch.numbers[SILENT_AFTER_S]
        state = REPORTING if pack["arrived_ms"] // 1000 > due_s else SILENT
    elif latest.watermark_ms[which] != NEVER_MS and latest.watermark_ms[which] >= pack["since_ms"]:
        state = SILENT
    return STATES * cell + state


@njit(types.void(SKETCH_TYPE, types.int32[::1], LATEST_TYPE, types.int32[::1]), cache=True, **BARE)
def units_of(sketch, packs, latest, wanted):  # type: ignore[no-untyped-def]
    """Set wanted int32[n] to the unit that each pack belongs to, NONE while nobody holds it. O(n)."""
    for position in range(len(packs)):
        wanted[position] = unit_of(sketch, packs[position], latest)


@njit(**BARE)
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


@njit(types.int64(SKETCH_TYPE, types.int32[::1], types.int32[::1], types.int64), cache=True, **BARE)
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


@njit(**BARE)
def take_values(sketch, which, latest, row_of):  # type: ignore[no-untyped-def]
    """Remember a pack's latest values; whether one of those that tournaments look at is another one."""
    since_ms, changed = sketch.pack[which]["since_ms"], False
    for column in range(VALUES):
        row = row_of[column]
        value = latest.thousandths[row, which] if latest.ts_ms[row, which] >= since_ms else ABSENT
        if value != sketch.value[which, column]:
            sketch.value[which, column] = value
            changed = changed or column >= TEMPERATURE
    return changed


@njit(**BARE)
def settle_one(sketch, which):  # type: ignore[no-untyped-def]
    """Undo `lift_one`."""
    sum_up(sketch, which, 1)
    if sketch.pack[which]["unit"] % STATES == REPORTING:
        link(sketch, which)


@njit(
    types.void(SKETCH_TYPE, types.int32[::1], types.int32[::1], LATEST_TYPE, types.int64[::1]),
    cache=True,
    **BARE,
)
def settle(sketch, packs, wanted, latest, row_of):  # type: ignore[no-untyped-def]
    """Count lifted packs in the units `wanted`, with their latest values; those that move need room there.

    row_of int64[VALUES]: the rows of the counted values among all measures.
    """
    for position in range(len(packs)):
        which, unit = packs[position], wanted[position]
        pack = sketch.pack[which]
        before = pack["unit"]
        moves = before != unit
        if moves and before != NONE and before % STATES != NEVER_SEEN:
            leave(sketch, which)
        changed = take_values(sketch, which, latest, row_of)
        pack["unit"] = unit
        if unit == NONE:
            continue
        if unit % STATES != NEVER_SEEN:
            if moves:
                enter(sketch, which)
            elif changed:
                play_all(sketch, which)
        settle_one(sketch, which)
        for chosen in bins_of(sketch, which):
            recount(sketch, unit, NONE, chosen)


@njit(
    types.int64(
        SKETCH_TYPE,
        types.int32[::1],
        ARRIVALS_TYPE,
        types.int64,
        LATEST_TYPE,
        types.int64[::1],
        types.int32[::1],
        types.int32[::1],
    ),
    cache=True,
    **BARE,
)
def follow(sketch, packs, arrivals, first, latest, row_of, moving, wanted):  # type: ignore[no-untyped-def]
    """Count packs anew with their arrivals and latest values; returns how many must move to another unit.

    packs int32[n], ascending and each once; the arrivals from row `first` on begin with the first of them. `moving`
    int32[n] and `wanted` int32[n] become the packs that move and where to; they are lifted, and are to be settled. The
    others are done, each at once while its memory is near, and in the bins alone that change.
    """
    row, left = first, 0
    for which in packs:
        pack = sketch.pack[which]
        unit = pack["unit"]
        charge, health, skew, age = bins_of(sketch, which)
        if unit != NONE:
            lift_one(sketch, which)
        while row < len(arrivals.pack) and arrivals.pack[row] <= which:
            if arrivals.pack[row] == which:
                arrive(sketch, arrivals, row)
            row += 1
        belongs = unit_of(sketch, which, latest)
        if belongs != unit or unit == NONE:
            if unit != NONE:
                for chosen in (charge, health, skew, age):
                    recount(sketch, unit, chosen, NONE)
            moving[left], wanted[left] = which, belongs
            left += 1
            continue
        if take_values(sketch, which, latest, row_of) and unit % STATES != NEVER_SEEN:
            play_all(sketch, which)
        settle_one(sketch, which)
        charge_now, health_now, skew_now, age_now = bins_of(sketch, which)
        recount(sketch, unit, charge, charge_now)
        recount(sketch, unit, health, health_now)
        recount(sketch, unit, skew, skew_now)
        recount(sketch, unit, age, age_now)
    return left


@njit(types.int64(SKETCH_TYPE, types.int32[::1]), cache=True, **BARE)
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


@njit(types.void(SKETCH_TYPE, types.int64, types.int64), cache=True, **BARE)
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
