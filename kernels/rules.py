"""Alert rules over the readings of a group: the machine of states, and the look that spares it (E17, E18).

All of it stands in one file, because Numba's cache looks at the file of the compiled function alone: what was compiled
would outlive a change in another.
"""

from numba import njit, types

from kernels.rule_columns import MADE, PACKS_TYPE, READINGS_TYPE, RESULTS_TYPE, STATES, TABLES_TYPE
from kernels.rule_records import (
    ABOVE,
    ABSENT,
    AS_LATE,
    BELOW,
    DISABLED,
    EITHER,
    IMBALANCE,
    MEASURED,
    MICRO_PER_MILLI_BY_MS,
    MISSING,
    NEVER_MS,
    NO_RATE,
    NONE,
    NORMAL,
    OUT_OF_SCOPE,
    PENDING,
    PROVISIONAL,
    RAISED,
    RAISES_KEPT,
    RATE,
    SKEW,
    SUPERSEDED,
    THRESHOLD,
    TO_CLEARED,
    TO_DROPPED,
    TO_PENDING,
    TO_RAISED,
    TO_WITHDRAWN,
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
def is_first_of_moment(ts_ms, row, last_ts_ms, slot):  # type: ignore[no-untyped-def]
    """Whether no earlier reading of the pack had the same time, which this one might complete."""
    for measure in range(last_ts_ms.shape[1]):  # noqa: SIM110 - Numba knows no all()
        if last_ts_ms[slot, measure] == ts_ms[row]:
            return False
    return True


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


TRANSITIONS_A_RULE_MAX = 3
"""Transitions that one reading can cause in one rule: out of the old version, raised, and cleared."""


@njit(nogil=True)
def emit(out, row, state, kind, reason, rule_ms, value):  # type: ignore[no-untyped-def]
    """Add a transition of a state."""
    one = out.made[out.counts[MADE]]
    one.reading, one.pack, one.rule, one.tenant = row, state.pack, state.rule, state.tenant
    one.version, one.kind, one.reason, one.flapping = state.version, kind, reason, state.flapping
    one.rule_ms, one.onset_ms, one.value = rule_ms, state.onset_ms, value
    out.counts[MADE] += 1


@njit(nogil=True)
def settle(state, packs, slot):  # type: ignore[no-untyped-def]
    """Put a state back to normal; what flapping needs stays."""
    state.status, state.flapping, state.changed = NORMAL, 0, 1
    state.onset_ms, state.clear_since_ms = NEVER_MS, NEVER_MS
    packs.busy[slot] -= 1


@njit(nogil=True)
def end(out, row, state, packs, slot, kind, reason, rule_ms, value):  # type: ignore[no-untyped-def]
    """End a state, at its onset at the earliest.

    A reading that was set aside may have begun it at a time to which the clock hasn't come yet.
    """
    emit(out, row, state, kind, reason, max(rule_ms, state.onset_ms), value)
    settle(state, packs, slot)


@njit(nogil=True)
def leave(out, row, state, packs, slot, reason, rule_ms):  # type: ignore[no-untyped-def]
    """End a state for another reason than a measurement."""
    kind = TO_CLEARED
    if state.status == PENDING:
        kind = TO_DROPPED
    elif state.status == PROVISIONAL:
        kind = TO_WITHDRAWN
    end(out, row, state, packs, slot, kind, reason, rule_ms, 0)


@njit(nogil=True)
def begin(state, version, status, onset_ms, packs, slot):  # type: ignore[no-untyped-def]
    """Let a normal state begin to breach under a version."""
    state.version, state.status, state.onset_ms, state.changed = version.number, status, onset_ms, 1
    state.clear_since_ms = NEVER_MS
    packs.busy[slot] += 1


@njit(nogil=True)
def raise_it(out, row, state, version, rule_ms, value):  # type: ignore[no-untyped-def]
    """Raise a state, and say whether it flaps: more raises within the window than allowed."""
    raises = 1
    for one in range(RAISES_KEPT):
        if state.raises_ms[one] != NEVER_MS and state.raises_ms[one] > rule_ms - version.flap_window_ms:
            raises += 1
    for one in range(1, RAISES_KEPT):
        state.raises_ms[one - 1] = state.raises_ms[one]
    state.raises_ms[RAISES_KEPT - 1] = rule_ms
    state.status, state.changed = RAISED, 1
    state.flapping = 1 if raises > version.flap_raises_max else 0
    emit(out, row, state, TO_RAISED, MEASURED, rule_ms, value)


@njit(nogil=True)
def calm(out, row, state, version, is_clear, rule_ms, value, packs, slot):  # type: ignore[no-untyped-def]
    """Clear a raised state; one that flaps only after it has been clear for the window."""
    if state.flapping:
        if state.clear_since_ms == NEVER_MS:
            if is_clear:
                state.clear_since_ms, state.changed = rule_ms, 1
            return
        if rule_ms - state.clear_since_ms < version.flap_window_ms:
            return
    elif not is_clear:
        return
    end(out, row, state, packs, slot, TO_CLEARED, MEASURED, rule_ms, value)


@njit(nogil=True, inline="always")
def step_breach(out, row, state, version, verdict, value, rule_ms, packs, slot):  # type: ignore[no-untyped-def]
    """Move a state by what a reading says."""
    if verdict == BREACH:
        if state.status == NORMAL:
            begin(state, version, PENDING, rule_ms, packs, slot)
            if version.duration_ms > 0:
                emit(out, row, state, TO_PENDING, MEASURED, rule_ms, value)
                return
        if state.status == PENDING and rule_ms - state.onset_ms >= version.duration_ms:
            raise_it(out, row, state, version, rule_ms, value)
        elif state.status == RAISED and state.clear_since_ms != NEVER_MS:
            state.clear_since_ms, state.changed = NEVER_MS, 1
    elif state.status == PENDING:
        emit(out, row, state, TO_DROPPED, MEASURED, rule_ms, value)
        settle(state, packs, slot)
    elif state.status == RAISED:
        calm(out, row, state, version, verdict == CLEAR, rule_ms, value, packs, slot)


@njit(nogil=True)
def step_missing(out, row, state, version, before_ms, rule_ms, packs, slot):  # type: ignore[no-untyped-def]
    """Decide the gap between a pack's readings before and at rule_ms (E19)."""
    silent_ms = rule_ms - before_ms
    if silent_ms > version.limit:
        onset_ms = max(before_ms + version.limit, version.effective_from_ms)
        if state.status == RAISED:
            state.clear_since_ms, state.changed = rule_ms, 1
            return
        if state.status == PROVISIONAL:
            state.onset_ms = onset_ms
        else:
            begin(state, version, PENDING, onset_ms, packs, slot)
        raise_it(out, row, state, version, onset_ms, silent_ms)
        calm(out, row, state, version, True, rule_ms, silent_ms, packs, slot)
    elif state.status == PROVISIONAL:
        emit(out, row, state, TO_WITHDRAWN, MEASURED, rule_ms, silent_ms)
        settle(state, packs, slot)
    elif state.status == RAISED:
        calm(out, row, state, version, True, rule_ms, silent_ms, packs, slot)


@njit(nogil=True, inline="always")
def active_version(versions, version_start, rule, rule_ms):  # type: ignore[no-untyped-def]
    """Position of a rule's version that applies at a rule time, or NONE before its first."""
    for one in range(version_start[rule + 1] - 1, version_start[rule] - 1, -1):
        if versions[one].effective_from_ms <= rule_ms:
            return one
    return NONE


@njit(nogil=True, inline="always")
def find_state(states, head, slot, rule):  # type: ignore[no-untyped-def]
    """Position of a pack's state of a rule, or NONE."""
    one = head[slot]
    while one != NONE and states[one].rule != rule:
        one = states[one].next
    return one


@njit(nogil=True, inline="always")
def state_of(out, packs, slot, row, version):  # type: ignore[no-untyped-def]
    """Position of a pack's state of a rule, made anew when there is none; it counts as seen at the reading."""
    position = find_state(out.states, packs.head, slot, version.rule)
    if position == NONE:
        position = out.counts[STATES]
        out.counts[STATES] += 1
        state = out.states[position]
        state.pack, state.rule, state.tenant = packs.pack[slot], version.rule, version.tenant
        state.version, state.status, state.flapping, state.changed = version.number, NORMAL, 0, 0
        state.onset_ms, state.clear_since_ms, state.next = NEVER_MS, NEVER_MS, packs.head[slot]
        for one in range(RAISES_KEPT):
            state.raises_ms[one] = NEVER_MS
        packs.head[slot] = position
    out.states[position].seen = row
    return position


@njit(nogil=True)
def note_late(out, row, pack, version, rule_ms, value):  # type: ignore[no-untyped-def]
    """Add a late reading's breach, which changes no state."""
    one = out.made[out.counts[MADE]]
    one.reading, one.pack, one.rule, one.tenant = row, pack, version.rule, version.tenant
    one.version, one.kind, one.reason, one.flapping = version.number, AS_LATE, MEASURED, 0
    one.rule_ms, one.onset_ms, one.value = rule_ms, rule_ms, value
    out.counts[MADE] += 1


@njit(nogil=True)
def close_unseen(out, row, packs, slot, rule_ms):  # type: ignore[no-untyped-def]
    """End the states of rules that don't hold for the pack any more."""
    one = packs.head[slot]
    while one != NONE:
        state = out.states[one]
        if state.status != NORMAL and state.seen != row:
            leave(out, row, state, packs, slot, OUT_OF_SCOPE, rule_ms)
        one = state.next


@njit(nogil=True)
def run_late(tables, readings, row, packs, slot, out):  # type: ignore[no-untyped-def]
    """Note each breach that a late reading shows by itself."""
    profile, moment = readings.profile[row], readings.rule_ms[row]
    for one in range(tables.profile_start[profile], tables.profile_start[profile + 1]):
        position = active_version(tables.versions, tables.version_start, tables.profile_rule[one], moment)
        if position == NONE:
            continue
        version = tables.versions[position]
        if version.enabled and (version.kind == THRESHOLD or version.kind == IMBALANCE):  # noqa: PLR1714 - Numba
            verdict, value = threshold_verdict(version, readings, row, packs, slot, True)
            if verdict == BREACH:
                note_late(out, row, packs.pack[slot], version, moment, value)


@njit(nogil=True, inline="always")
def run_version(version, where, readings, row, before_ms, packs, slot, out):  # type: ignore[no-untyped-def]
    """Move the state of one rule, which stands at `where` or isn't there yet, by one reading."""
    moment = readings.rule_ms[row]
    if where != NONE:
        state = out.states[where]
        state.seen = row
        if state.status != NORMAL and state.version != version.number:
            leave(out, row, state, packs, slot, SUPERSEDED if version.enabled else DISABLED, moment)
    if not version.enabled:
        return
    is_normal = where == NONE or out.states[where].status == NORMAL
    if version.kind == MISSING:
        if before_ms != NEVER_MS and not (is_normal and moment - before_ms <= version.limit):
            where = state_of(out, packs, slot, row, version)
            step_missing(out, row, out.states[where], version, before_ms, moment, packs, slot)
        return
    verdict, value = verdict_of(version, readings, row, packs, slot)
    if verdict != UNKNOWN and not (is_normal and verdict != BREACH):
        where = state_of(out, packs, slot, row, version)
        step_breach(out, row, out.states[where], version, verdict, value, moment, packs, slot)


@njit(nogil=True)
def is_plainly_clear(version, thousandths, row):  # type: ignore[no-untyped-def]
    """Whether a threshold's own value is there and doesn't breach, so that a rule without a state stays without."""
    value = thousandths[version.measure, row] if version.kind == THRESHOLD else ABSENT
    return value != ABSENT and not is_beyond(version.side, value, version.limit)


@njit(nogil=True)
def run_rules(tables, readings, row, has_values, before_ms, packs, slot, out):  # type: ignore[no-untyped-def]
    """Move the states of all rules by one reading."""
    versions, version_start, profile_start, profile_rule, _, _, _, _, _ = tables
    thousandths, head, states = readings.thousandths, packs.head, out.states
    profile, moment = readings.profile[row], readings.rule_ms[row]
    for one in range(profile_start[profile], profile_start[profile + 1]):
        position = active_version(versions, version_start, profile_rule[one], moment)
        if position == NONE:
            continue
        version = versions[position]
        if not has_values and version.kind != SKEW:
            continue
        where = find_state(states, head, slot, version.rule)
        # Most rules of a pack on which one is have nothing to say: they are passed over at once.
        if where == NONE and (not version.enabled or is_plainly_clear(version, thousandths, row)):
            continue
        run_version(version, where, readings, row, before_ms, packs, slot, out)
    if has_values and packs.busy[slot] > 0:
        close_unseen(out, row, packs, slot, moment)


@njit(nogil=True)
def has_room(tables, profile, busy, out):  # type: ignore[no-untyped-def]
    """Whether what one reading can cause at most still fits."""
    rules = tables.profile_start[profile + 1] - tables.profile_start[profile]
    needed = TRANSITIONS_A_RULE_MAX * rules + busy
    return out.counts[MADE] + needed <= len(out.made) and out.counts[STATES] + rules <= len(out.states)


@njit(nogil=True)
def has_any(thousandths, row):  # type: ignore[no-untyped-def]
    """Whether a reading carries any measure."""
    for measure in range(thousandths.shape[0]):  # noqa: SIM110 - Numba knows no any()
        if thousandths[measure, row] != ABSENT:
            return True
    return False


@njit(nogil=True)
def forget_values(last, last_ts_ms, slot):  # type: ignore[no-untyped-def]
    """Forget the last values of a pack."""
    for measure in range(last.shape[1]):
        last_ts_ms[slot, measure] = NEVER_MS
        last[slot, measure] = ABSENT


@njit(nogil=True)
def remember(thousandths, ts_ms, row, last, last_ts_ms, slot):  # type: ignore[no-untyped-def]
    """Move a pack's last values to those of a reading."""
    for measure in range(thousandths.shape[0]):
        if thousandths[measure, row] != ABSENT:
            last[slot, measure] = thousandths[measure, row]
            last_ts_ms[slot, measure] = ts_ms[row]


@njit(types.int64(types.int64, READINGS_TYPE, PACKS_TYPE, TABLES_TYPE, RESULTS_TYPE), nogil=True, cache=True)
def evaluate(start, readings, packs, tables, out):  # type: ignore[no-untyped-def]
    """Run the rules over readings from `start` on; returns where it stopped: n, or where room ran out.

    Packs and results are changed in place. With too little room in the results for what a reading can cause, it
    stops before that reading, to be called again with larger arrays.
    """
    slots, profiles, tenants, tenures, ts_ms, rule_ms, skew_ms, thousandths = readings
    _, of_tenant, of_tenure, clock_ms, last_ts_ms, last, _, busy = packs
    _, _, _, _, bounds, low, high, rate, cells = tables
    above, below = cells
    for row in range(start, len(slots)):
        slot, profile = slots[row], profiles[row]
        before_ms, moment = clock_ms[slot], rule_ms[row]
        late, has_values = moment < before_ms, has_any(thousandths, row)
        if late and not has_values:
            continue
        if not late and has_values and of_tenant[slot] != tenants[row]:
            # What another tenant's readings were is not for this one's rules to know.
            before_ms = NEVER_MS
            forget_values(last, last_ts_ms, slot)
        quiet = is_within(low, high, profile, thousandths, row) and is_balanced(
            bounds[profile].imbalance, above, below, thousandths, ts_ms, row, last, last_ts_ms, slot, late
        )
        if quiet and not late:
            quiet = (
                busy[slot] == 0
                and skew_ms[row] <= bounds[profile].skew_ms
                and (before_ms == NEVER_MS or moment - before_ms <= bounds[profile].after_ms)
            )
            if quiet and bounds[profile].pairs > 0:
                quiet = is_first_of_moment(ts_ms, row, last_ts_ms, slot)
            if quiet and bounds[profile].rates > 0:
                quiet = is_steady(rate, profile, thousandths, ts_ms, row, last, last_ts_ms, slot)
        if not quiet:
            if not has_room(tables, profile, busy[slot], out):
                return row
            if late:
                run_late(tables, readings, row, packs, slot, out)
            else:
                run_rules(tables, readings, row, has_values, before_ms, packs, slot, out)
        if has_values and not late:
            clock_ms[slot], of_tenant[slot], of_tenure[slot] = moment, tenants[row], tenures[row]
            remember(thousandths, ts_ms, row, last, last_ts_ms, slot)
    return len(slots)


@njit(types.void(READINGS_TYPE, PACKS_TYPE), nogil=True, cache=True)
def replay(readings, packs):  # type: ignore[no-untyped-def]
    """Move clocks and last values by readings that the rules have seen before; states stay as they are."""
    slots, _, tenants, tenures, ts_ms, rule_ms, _, thousandths = readings
    _, of_tenant, of_tenure, clock_ms, last_ts_ms, last, _, _ = packs
    for row in range(len(slots)):
        slot = slots[row]
        if rule_ms[row] >= clock_ms[slot] and has_any(thousandths, row):
            if of_tenant[slot] != tenants[row]:
                forget_values(last, last_ts_ms, slot)
            clock_ms[slot], of_tenant[slot], of_tenure[slot] = rule_ms[row], tenants[row], tenures[row]
            remember(thousandths, ts_ms, row, last, last_ts_ms, slot)
