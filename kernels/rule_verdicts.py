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


@njit(nogil=True)
def is_beyond(side, value, limit):  # type: ignore[no-untyped-def]
    """Whether a value breaches a limit on one side, or on either by its size."""
    if side == ABOVE:
        return value > limit
    if side == BELOW:
        return value < limit
    return abs(value) > limit


@njit(nogil=True)
def at_moment(measure, row, ts_ms, thousandths, last, last_ts_ms):  # type: ignore[no-untyped-def]
    """The value of a measure at the reading's time: its own, or the last one when that has the same time.

    last int32[measures] and last_ts_ms int64[measures] of the pack; empty when only the reading itself counts.
    """
    value = thousandths[measure, row]
    if value == ABSENT and len(last) > 0 and last_ts_ms[measure] == ts_ms[row]:
        return last[measure]
    return value


@njit(nogil=True)
def threshold_verdict(version, row, ts_ms, thousandths, last, last_ts_ms):  # type: ignore[no-untyped-def]
    """(verdict, value in thousandths) of a threshold or an imbalance."""
    own, other = thousandths[version.measure, row], ABSENT
    if version.other != NONE:
        other = thousandths[version.other, row]
    if own == ABSENT and other == ABSENT:
        return UNKNOWN, 0
    value = int(at_moment(version.measure, row, ts_ms, thousandths, last, last_ts_ms))
    if value == ABSENT:
        return UNKNOWN, 0
    if version.other != NONE:
        other = at_moment(version.other, row, ts_ms, thousandths, last, last_ts_ms)
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


@njit(nogil=True)
def rate_verdict(version, row, ts_ms, thousandths, last, last_ts_ms):  # type: ignore[no-untyped-def]
    """(verdict, millionths a second) of the change since the last value, if that is near enough."""
    value = thousandths[version.measure, row]
    before_ms = last_ts_ms[version.measure]
    if value == ABSENT or before_ms == NEVER_MS:
        return UNKNOWN, 0
    apart_ms = ts_ms[row] - before_ms
    if apart_ms <= 0 or apart_ms > version.reach_ms:
        return UNKNOWN, 0
    change = (int(value) - int(last[version.measure])) * MICRO_PER_MILLI_BY_MS
    rate = change // apart_ms
    if version.side == EITHER:
        return (BREACH if abs(change) > version.limit * apart_ms else CLEAR), rate
    return (BREACH if version.side * change > version.limit * apart_ms else CLEAR), rate


@njit(nogil=True)
def verdict_of(version, row, ts_ms, skew_ms, thousandths, last, last_ts_ms):  # type: ignore[no-untyped-def]
    """(verdict, value) of any rule but one of missing data."""
    if version.kind == RATE:
        return rate_verdict(version, row, ts_ms, thousandths, last, last_ts_ms)
    if version.kind == SKEW:
        return (BREACH if skew_ms > version.limit else CLEAR), skew_ms
    return threshold_verdict(version, row, ts_ms, thousandths, last, last_ts_ms)


@njit(nogil=True)
def is_within(low, high, row, thousandths):  # type: ignore[no-untyped-def]
    """Whether each measure of a reading lies within the tightest thresholds, int32[measures] each.

    ABSENT is the least of all values, so it is asked for only when something lies outside.
    """
    for measure in range(len(low)):
        value = thousandths[measure, row]
        if (value < low[measure] or value > high[measure]) and value != ABSENT:
            return False
    return True


@njit(nogil=True)
def is_balanced(imbalance, cells, row, ts_ms, thousandths, last, last_ts_ms):  # type: ignore[no-untyped-def]
    """Whether the cells of the reading's moment lie within the tightest limit; cells: their two measures."""
    highest, lowest = thousandths[cells[0], row], thousandths[cells[1], row]
    if highest == ABSENT and lowest == ABSENT:
        return True
    highest = at_moment(cells[0], row, ts_ms, thousandths, last, last_ts_ms)
    lowest = at_moment(cells[1], row, ts_ms, thousandths, last, last_ts_ms)
    return ABSENT in (highest, lowest) or int(highest) - int(lowest) <= imbalance


@njit(nogil=True)
def is_steady(rates, row, ts_ms, thousandths, last, last_ts_ms):  # type: ignore[no-untyped-def]
    """Whether no measure changed faster than the tightest rate, int64[measures], NO_RATE without one."""
    for measure in range(len(rates)):
        value = thousandths[measure, row]
        if value == ABSENT or rates[measure] == NO_RATE or last_ts_ms[measure] == NEVER_MS:
            continue
        apart_ms = ts_ms[row] - last_ts_ms[measure]
        change = (int(value) - int(last[measure])) * MICRO_PER_MILLI_BY_MS
        # Beyond the reach of every rule the product would overflow, and nothing is judged.
        if 0 < apart_ms <= MILLISECONDS_PER_DAY and abs(change) > rates[measure] * apart_ms:
            return False
    return True
