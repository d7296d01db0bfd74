"""Figures of groups of units of the live sketches, at a cost that grows with the units and not with their packs."""

from numba import njit, types

from kernels.sketch_columns import (
    ABSENT,
    AGE_BIN,
    AGE_LEVELS,
    BARE,
    CELL_HIGH,
    CELL_LOW,
    CHARGE,
    CHARGE_BIN,
    CHARGE_BINS,
    CHARGE_BUCKET_BINS,
    CHARGE_BUCKETS,
    COLDEST,
    EXTREMES,
    HEALTH,
    HEALTH_BIN,
    HEALTH_BINS,
    HEALTH_BUCKET_BINS,
    HEALTH_BUCKETS,
    HIGHEST_CELL,
    LOWEST_CELL,
    MERGED_TYPE,
    NEVER_SEEN,
    NONE,
    NOW_S,
    PAGE_BINS,
    PAGES,
    SKETCH_TYPE,
    SKEW_BIN,
    SKEW_BINS,
    SKEW_SIDE,
    STATES,
    TEMPERATURE,
)

# The functions without a signature are compiled into the ones that carry one.


@njit(inline="always", **BARE)
def rank_of(percent, packs):  # type: ignore[no-untyped-def]
    """The nearest rank, from 1: that of the smallest value that so many percent don't exceed."""
    return max((percent * packs + 99) // 100, 1)


@njit(**BARE)
def quantiles_into(found, bins, first, length, packs, percents):  # type: ignore[no-untyped-def]
    """The bins, from 0, that hold the values of these ranks, ascending."""
    passed, place = 0, -1
    for position in range(len(percents)):
        rank = rank_of(percents[position], packs)
        while passed < rank and place < length - 1:
            place += 1
            passed += bins[first + place]
        found[position] = place


@njit(**BARE)
def skew_of(place):  # type: ignore[no-untyped-def]
    """The middle of a bin of clock skew, in milliseconds."""
    place -= SKEW_SIDE
    size = abs(place)
    if size >= 8:  # noqa: PLR2004
        doublings = size // 8 + 2
        width = 1 << (doublings - 3)
        size = (8 + size % 8) * width + (width - 1) // 2
    return size if place >= 0 else -size


@njit(**BARE)
def ages_into(found, bins, now_s, packs, percents):  # type: ignore[no-untyped-def]
    """The ages in seconds of these ranks, ascending; each the middle of its span."""
    position, passed = 0, 0
    for level in range(AGE_LEVELS):
        newest = now_s >> level
        for span in range(newest, newest - PAGE_BINS, -1):
            passed += bins[AGE_BIN + level * PAGE_BINS + (span & (PAGE_BINS - 1))]
            while position < len(percents) and passed >= rank_of(percents[position], packs):
                found[position] = now_s - ((span << level) + ((1 << level) - 1) // 2)
                position += 1
            if position == len(percents):
                return


@njit(**BARE)
def winner_of(sketch, extreme, number):  # type: ignore[no-untyped-def]
    """The pack that holds an extreme of a unit, NONE without."""
    unit = sketch.unit[number]
    if unit["filled"] == 0:
        return NONE
    if unit["capacity"] > 1:
        return sketch.winner[extreme, unit["offset"] + 1]
    which = sketch.member[unit["offset"]]
    return which if value_of(sketch, extreme, which) != ABSENT else NONE


@njit(**BARE)
def value_of(sketch, extreme, which):  # type: ignore[no-untyped-def]
    column = TEMPERATURE
    if extreme == HIGHEST_CELL:
        column = CELL_HIGH
    elif extreme == LOWEST_CELL:
        column = CELL_LOW
    return sketch.value[which, column]


@njit(**BARE)
def add_unit(sketch, number, group, bins, merged):  # type: ignore[no-untyped-def]
    unit = sketch.unit[number]
    merged.packs[group, number % STATES] += unit["packs"]
    if number % STATES == NEVER_SEEN or unit["packs"] == 0:
        return
    merged.measured[group, CHARGE] += unit["charged"]
    merged.measured[group, HEALTH] += unit["healthy"]
    merged.sums[group, CHARGE] += unit["charge_sum"]
    merged.sums[group, HEALTH] += unit["health_sum"]
    merged.arrived[group] += unit["arrived"]
    merged.beyond[group] += unit["beyond"]
    for column in range(PAGES):
        page = sketch.page_of[number, column]
        if page != NONE:
            first = column * PAGE_BINS
            for place in range(PAGE_BINS):
                bins[first + place] += sketch.page[page, place]
    for extreme in range(EXTREMES):
        which = winner_of(sketch, extreme, number)
        if which == NONE:
            continue
        value, held = value_of(sketch, extreme, which), merged.extreme[group, extreme]
        lower = extreme in (COLDEST, LOWEST_CELL)
        if merged.holder[group, extreme] == NONE or (value < held if lower else value > held):
            merged.holder[group, extreme], merged.extreme[group, extreme] = which, value


@njit(
    types.void(
        SKETCH_TYPE,
        types.int32[::1],
        types.int64[::1],
        types.int64[::1],
        types.int64[::1],
        types.int32[::1],
        MERGED_TYPE,
    ),
    cache=True,
    **BARE,
)
def merge(sketch, units, bounds, percents, late_percents, bins, merged):  # type: ignore[no-untyped-def]
    """Set the figures of each group: of the units from bounds[k] to bounds[k + 1].

    units int32[u]; bounds int64[g + 1]. percents int64[q], of state of charge and of health, and late_percents
    int64[r], of age and skew, ascending, 0 for the least. bins int32[BINS]: room to work in. merged: zeros, NONE
    and ABSENT in the beginning.
    Percentiles are of nearest rank. O(units * bins of their pages + groups * BINS).
    """
    for group in range(len(bounds) - 1):
        bins[:] = 0
        for position in range(bounds[group], bounds[group + 1]):
            add_unit(sketch, units[position], group, bins, merged)
        charged, healthy = merged.measured[group, CHARGE], merged.measured[group, HEALTH]
        quantiles_into(merged.quantiles[group, CHARGE], bins, CHARGE_BIN, CHARGE_BINS, charged, percents)
        quantiles_into(merged.quantiles[group, HEALTH], bins, HEALTH_BIN, HEALTH_BINS, healthy, percents)
        for place in range(CHARGE_BINS):
            bucket = min(place // CHARGE_BUCKET_BINS, CHARGE_BUCKETS - 1)
            merged.buckets[group, CHARGE, bucket] += bins[CHARGE_BIN + place]
        for place in range(HEALTH_BINS):
            bucket = min(place // HEALTH_BUCKET_BINS, HEALTH_BUCKETS - 1)
            merged.buckets[group, HEALTH, bucket] += bins[HEALTH_BIN + place]
        arrived = merged.arrived[group]
        if arrived == 0:
            continue
        ages_into(merged.age_s[group], bins, sketch.numbers[NOW_S], arrived, late_percents)
        quantiles_into(merged.skew_ms[group], bins, SKEW_BIN, SKEW_BINS, arrived, late_percents)
        for position in range(len(late_percents)):
            merged.skew_ms[group, position] = skew_of(merged.skew_ms[group, position])
