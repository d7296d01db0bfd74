"""What happens to alerts without a reading: silence that a timer notices, and clearing by hand (E18, E19)."""

import numpy as np
import numpy.typing as npt

from domain.errors import ConflictError, NotFoundError
from domain.readings import Int32Array, Int64Array
from kernels.rule_records import (
    BY_HAND,
    MISSING,
    NEVER_MS,
    NONE,
    NORMAL,
    PROVISIONAL,
    RAISED,
    SILENT,
    STATE,
    SUPERSEDED,
    TO_CLEARED,
    TO_PROVISIONAL,
    TO_WITHDRAWN,
    TRANSITION,
)
from streams.alerting import RuleOutcome
from streams.rule_book import RuleBook
from streams.rule_memory import RuleMemory, States

Records = npt.NDArray[np.void]


def overdue(now_ms: int, memory: RuleMemory, book: RuleBook, up_since_ms: int) -> RuleOutcome | None:
    """Provisional alerts for packs whose silence is too long by now, and withdrawals of those whose rule has changed.

    To be asked only while the owner has no lag; a rule that waits longer than the owner has been up says nothing,
    so that an outage of ours isn't reported as theirs. None when nothing is to be written. The memory stays as it
    is.
    """
    active = _active_missing(book, now_ms)
    due = [_due(memory, book, version, now_ms, up_since_ms) for version in active.values()]
    outdated = _outdated(memory.states, active)
    packs = np.unique(np.concatenate([memory.states["pack"][outdated], *(pack for pack, _ in due)]))
    if len(packs) == 0:
        return None
    gathered, states = memory.gather(packs.astype(np.int32))
    given = len(states)
    made: list[Records] = [_withdraw(states, active, now_ms)]
    for version, (pack, onset_ms) in zip(active.values(), due, strict=True):
        states, transitions = _provisional(states, version, pack, onset_ms, now_ms)
        made.append(transitions)
    return RuleOutcome(gathered, states, given, np.concatenate(made))


def _active_missing(book: RuleBook, now_ms: int) -> dict[int, np.void]:
    """The versions of missing data that apply now, by rule."""
    found: dict[int, np.void] = {}
    for version in book.tables.versions:
        if version["effective_from_ms"] <= now_ms:
            found[int(version["rule"])] = version
    return {
        rule: version for rule, version in found.items() if version["kind"] == MISSING and version["enabled"]
    }


def _due(
    memory: RuleMemory, book: RuleBook, version: np.void, now_ms: int, up_since_ms: int
) -> tuple[Int32Array, Int64Array]:
    """The packs that a rule finds silent and has no alert for, and the onset of each."""
    after_ms = int(version["limit"])
    nothing = np.empty(0, np.int32), np.empty(0, np.int64)
    if now_ms - up_since_ms <= after_ms:
        return nothing
    pack = np.flatnonzero((memory.clock_ms != NEVER_MS) & (memory.clock_ms < now_ms - after_ms))
    onset_ms = np.maximum(memory.clock_ms[pack] + after_ms, version["effective_from_ms"])
    holds = book.holds(int(version["rule"]), memory.tenure[pack]) & (
        onset_ms < book.ends_ms_of(memory.tenure[pack])
    )
    states = memory.states
    current = (states["rule"] == version["rule"]) & np.isin(states["status"], (RAISED, PROVISIONAL))
    current &= (states["status"] == RAISED) | (states["version"] == version["number"])
    wanted = holds & ~np.isin(pack, states["pack"][current])
    return pack[wanted].astype(np.int32), onset_ms[wanted]


def _outdated(states: States, active: dict[int, np.void]) -> npt.NDArray[np.bool_]:
    """Which states are provisional under a version that doesn't apply any more."""
    provisional = np.flatnonzero(states["status"] == PROVISIONAL)
    outdated = np.zeros(len(states), np.bool_)
    for position in provisional.tolist():
        version = active.get(int(states["rule"][position]))
        outdated[position] = version is None or version["number"] != states["version"][position]
    return outdated


def _withdraw(states: States, active: dict[int, np.void], now_ms: int) -> Records:
    """Put outdated provisional states back to normal, in place; the transitions."""
    outdated = np.flatnonzero(_outdated(states, active))
    made = _made(states[outdated], TO_WITHDRAWN, SUPERSEDED, now_ms)
    _settle(states, outdated)
    return made


def _settle(states: States, positions: npt.NDArray[np.intp]) -> None:
    states["status"][positions], states["flapping"][positions], states["changed"][positions] = NORMAL, 0, 1
    states["onset_ms"][positions] = NEVER_MS
    states["clear_since_ms"][positions] = NEVER_MS


def _provisional(
    states: States, version: np.void, pack: Int32Array, onset_ms: Int64Array, now_ms: int
) -> tuple[States, Records]:
    """The states with those of the silent packs provisional, and the transitions."""
    kept = np.flatnonzero((states["rule"] == version["rule"]) & np.isin(states["pack"], pack))
    missing = pack[~np.isin(pack, states["pack"][kept])]
    more = np.zeros(len(missing), STATE)
    more["pack"], more["rule"], more["tenant"] = missing, version["rule"], version["tenant"]
    more["raises_ms"] = NEVER_MS
    states = np.concatenate([states, more])
    changed = np.flatnonzero((states["rule"] == version["rule"]) & np.isin(states["pack"], pack))
    states["version"][changed], states["status"][changed] = version["number"], PROVISIONAL
    states["onset_ms"][changed] = onset_ms[np.searchsorted(pack, states["pack"][changed])]
    states["clear_since_ms"][changed], states["flapping"][changed] = NEVER_MS, 0
    states["changed"][changed] = 1
    made = _made(states[changed], TO_PROVISIONAL, SILENT, now_ms)
    made["value"] = int(version["limit"])
    return states, made


def _made(states: States, kind: int, reason: int, rule_ms: int) -> Records:
    made = np.zeros(len(states), TRANSITION)
    for name in ("pack", "rule", "tenant", "version", "flapping", "onset_ms"):
        made[name] = states[name]
    made["reading"], made["kind"], made["reason"], made["rule_ms"] = NONE, kind, reason, rule_ms
    return made


def cleared_by_hand(memory: RuleMemory, rule: int, pack: int, onset_ms: int, now_ms: int) -> RuleOutcome:
    """The outcome that clears the open alert of a rule and pack with this onset.

    A breach that goes on is a new alert, with the next reading as its onset. Raises NotFoundError when no such
    alert is open, ConflictError for a silence that goes on. The memory stays as it is.
    """
    gathered, states = memory.gather(np.array([pack], np.int32))
    chosen = np.flatnonzero(
        (states["rule"] == rule)
        & (states["onset_ms"] == onset_ms)
        & np.isin(states["status"], (RAISED, PROVISIONAL))
    )
    if len(chosen) == 0:
        raise NotFoundError("no such alert is open")
    if (states["status"][chosen] == PROVISIONAL).any():
        # The timer would raise it again at once: the silence goes on.
        raise ConflictError("only the pack's next reading ends its silence: mute it, to see it no more")
    made = _made(states[chosen], TO_CLEARED, BY_HAND, now_ms)
    _settle(states, chosen)
    return RuleOutcome(gathered, states, len(states), made)
