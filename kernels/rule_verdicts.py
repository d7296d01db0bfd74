"""What one reading says about one rule, and a quick look that tells that it says nothing about any."""

from numba import njit

from kernels.rule_records import (
    ABOVE,
    ABSENT,
    BELOW,
    EITHER,
    IMBALANCE,
    MICRO_PER_MILLI_BY_MS,
    NEVER_MS,
    NO_RATE,
    NONE,
    RATE,
    SKEW,
    THRESHOLD,
)

UNKNOWN = 0
CLEAR = 1
BETWEEN = 2
BREACH = 3

MILLISECONDS_PER_DAY = 86_400_000

# The functions here are compiled into the one that calls them, which carries the signature.


@njit(nogil=True, inline="always")
def is_beyond(side, value, limit):  # type: ignore[no-untyped-def]
    """Whether a value breaches a limit on one side, or on either by its size."""
    if side == ABOVE:
        return value > limit
    if side == BELOW:
        return value < limit
    return abs(value) > limit


@njit(nogil=True, inline="always")
def at_moment(measure, readings, row, packs, slot, alone):  # type: ignore[no-untyped-def]
    """The value of a measure at the reading's time: its own, or the last one when that has the same time.

    alone: only the reading itself counts.
    """
    value = readings.thousandths[measure, row]
    if value == ABSENT and not alone and packs.last_ts_ms[slot, measure] == readings.ts_ms[row]:
        return packs.last[slot, measure]
    return value


@njit(nogil=True, inline="always")
def threshold_verdict(version, readings, row, packs, slot, alone):  # type: ignore[no-untyped-def]
    """(verdict, value in thousandths) of a threshold or an imbalance."""
    own, other = readings.thousandths[version.measure, row], ABSENT
    if version.other != NONE:
        other = readings.thousandths[version.other, row]
    if own == ABSENT and other == ABSENT:
        return UNKNOWN, 0
    value = int(at_moment(version.measure, readings, row, packs, slot, alone))
    if value == ABSENT:
        return UNKNOWN, 0
    if version.other != NONE:
        other = at_moment(version.other, readings, row, packs, slot, alone)
    if version.kind == IMBALANCE:
        if other == ABSENT:
            return UNKNOWN, 0
        value -= other
    if is_beyond(version.side, value, version.limit):
        if version.kind == THRESHOLD and version.other != NONE:
            if other == ABSENT:
                return UNKNOWN, value
            if not is_beyond(version.other_side, other, version.other_limit):
                return CLEAR, value
        return BREACH, value
    if version.side == ABOVE:
        return (CLEAR if value <= version.clear_limit else BETWEEN), value
    return (CLEAR if value >= version.clear_limit else BETWEEN), value


@njit(nogil=True, inline="always")
def rate_verdict(version, readings, row, packs, slot):  # type: ignore[no-untyped-def]
    """(verdict, millionths a second) of the change since the last value, if that is near enough."""
    value = readings.thousandths[version.measure, row]
    before_ms = packs.last_ts_ms[slot, version.measure]
    if value == ABSENT or before_ms == NEVER_MS:
        return UNKNOWN, 0
    apart_ms = readings.ts_ms[row] - before_ms
    if apart_ms <= 0 or apart_ms > version.reach_ms:
        return UNKNOWN, 0
    change = (int(value) - int(packs.last[slot, version.measure])) * MICRO_PER_MILLI_BY_MS
    rate = change // apart_ms
    if version.side == EITHER:
        return (BREACH if abs(change) > version.limit * apart_ms else CLEAR), rate
    return (BREACH if version.side * change > version.limit * apart_ms else CLEAR), rate


@njit(nogil=True, inline="always")
def verdict_of(version, readings, row, packs, slot):  # type: ignore[no-untyped-def]
    """(verdict, value) of any rule but one of missing data."""
    if version.kind == RATE:
        return rate_verdict(version, readings, row, packs, slot)
    if version.kind == SKEW:
        skew_ms = readings.skew_ms[row]
        return (BREACH if skew_ms > version.limit else CLEAR), skew_ms
    return threshold_verdict(version, readings, row, packs, slot, False)


# The quick look takes arrays and not tuples of them: every access to a tuple's array counts references, which costs
# more than the look itself (`python -m benchmarks rules`).


@njit(nogil=True)
def is_within(low, high, profile, thousandths, row):  # type: ignore[no-untyped-def]
    """Whether each measure of a reading lies within the tightest thresholds of a profile.

    ABSENT is the least of all values, so it is asked for only when something lies outside.
    """
    for measure in range(thousandths.shape[0]):
        value = thousandths[measure, row]
        if (value < low[profile, measure] or value > high[profile, measure]) and value != ABSENT:
            return False
    return True


@njit(nogil=True)
def is_balanced(limit, above, below, thousandths, ts_ms, row, last, last_ts_ms, slot, alone):  # type: ignore[no-untyped-def]
    """Whether the cells of the reading's moment lie within a limit; above, below: their measures."""
    highest, lowest = thousandths[above, row], thousandths[below, row]
    if highest == ABSENT and lowest == ABSENT:
        return True
    if highest == ABSENT and not alone and last_ts_ms[slot, above] == ts_ms[row]:
        highest = last[slot, above]
    if lowest == ABSENT and not alone and last_ts_ms[slot, below] == ts_ms[row]:
        lowest = last[slot, below]
    if ABSENT in (highest, lowest):
        return True
    return int(highest) - int(lowest) <= limit


@njit(nogil=True)
def is_steady(rate, profile, thousandths, ts_ms, row, last, last_ts_ms, slot):  # type: ignore[no-untyped-def]
    """Whether no measure changed faster than the tightest rate of a profile."""
    for measure in range(thousandths.shape[0]):
        limit = rate[profile, measure]
        value = thousandths[measure, row]
        before_ms = last_ts_ms[slot, measure]
        if limit == NO_RATE or value == ABSENT or before_ms == NEVER_MS:
            continue
        apart_ms = ts_ms[row] - before_ms
        change = (int(value) - int(last[slot, measure])) * MICRO_PER_MILLI_BY_MS
        # Beyond the reach of every rule the product would overflow, and nothing is judged.
        if 0 < apart_ms <= MILLISECONDS_PER_DAY and abs(change) > limit * apart_ms:
            return False
    return True
