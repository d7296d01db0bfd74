"""What rules remember: clocks and last live values by pack, and the states that aren't plainly normal."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from domain.alert_rules import FLAP_WINDOW_S_MAX
from domain.alerts import RuleStatus, SavedRuleState
from domain.clock import MILLISECONDS_PER_SECOND
from domain.measures import MEASURES
from domain.readings import ABSENT, BoolArray, Int32Array, Int64Array, LiveReadings, RuleClocks
from kernels import rules as kernels
from kernels.rule_columns import Packs, Readings
from kernels.rule_records import NEVER_MS, NONE, NORMAL, RAISES_KEPT, STATE

States = npt.NDArray[np.void]

STATUSES = (RuleStatus.NORMAL, RuleStatus.PENDING, RuleStatus.RAISED, RuleStatus.PROVISIONAL)
"""By the kernels' numbers."""

_FLAP_MS_MAX = FLAP_WINDOW_S_MAX * MILLISECONDS_PER_SECOND
_SMALLEST_CAPACITY = 1024


class RuleMemory:
    """Columns by pack number, and states sorted by pack; changed by `apply` alone, after COMMIT.

    Not thread-safe: it belongs to the writer's thread.
    """

    def __init__(self) -> None:
        measures = len(MEASURES)
        self.tenant = np.zeros(0, np.int32)
        self.tenure = np.zeros(0, np.int32)
        self.clock_ms = np.full(0, NEVER_MS, np.int64)
        self._last_ts_ms = np.full((0, measures), NEVER_MS, np.int64)
        self._last = np.full((0, measures), ABSENT, np.int32)
        self._touched = np.zeros(0, np.bool_)
        self.states: States = np.zeros(0, STATE)

    @staticmethod
    def restored(
        clocks: RuleClocks, states: Iterable[SavedRuleState], later: LiveReadings | None = None
    ) -> "RuleMemory":
        """The memory as saved; `later`: the live readings committed since the clocks were saved, as they arrived."""
        memory = RuleMemory()
        if len(clocks):
            memory._make_room(int(clocks.pack.max()))
            memory.tenant[clocks.pack] = clocks.tenant
            memory.tenure[clocks.pack] = clocks.tenure
            memory.clock_ms[clocks.pack] = clocks.clock_ms
            memory._last_ts_ms[clocks.pack] = clocks.last_ts_ms.T
            memory._last[clocks.pack] = clocks.last.T
        memory.states = _loaded(states)
        if len(memory.states):
            memory._make_room(int(memory.states["pack"][-1]))
        if later is not None:
            memory.replay(later)
        return memory

    def _make_room(self, largest_pack: int) -> None:
        have = len(self.clock_ms)
        if largest_pack < have:
            return
        more = max(largest_pack + 1, 2 * have, _SMALLEST_CAPACITY) - have
        self.tenant = np.pad(self.tenant, (0, more))
        self.tenure = np.pad(self.tenure, (0, more))
        self.clock_ms = np.pad(self.clock_ms, (0, more), constant_values=NEVER_MS)
        self._last_ts_ms = np.pad(self._last_ts_ms, ((0, more), (0, 0)), constant_values=NEVER_MS)
        self._last = np.pad(self._last, ((0, more), (0, 0)), constant_values=ABSENT)
        self._touched = np.pad(self._touched, (0, more))

    def gather(self, packs: Int32Array) -> tuple[Packs, States]:
        """Copies of what is remembered of these packs (ascending, each once), and of their states."""
        if len(packs):
            self._make_room(int(packs.max()))
        chosen, slots = self._states_of(packs)
        states = self.states[chosen]
        states["seen"], states["changed"] = NONE, 0
        head = np.full(len(packs), NONE, np.int32)
        same_as_before = np.zeros(len(states), np.bool_)
        same_as_before[1:] = slots[1:] == slots[:-1]
        states["next"] = np.where(same_as_before, np.arange(-1, len(states) - 1), NONE)
        head[slots] = np.arange(len(states), dtype=np.int32)
        busy = np.bincount(slots[states["status"] != NORMAL], minlength=len(packs)).astype(np.int32)
        gathered = Packs(
            pack=packs,
            tenant=self.tenant[packs],
            tenure=self.tenure[packs],
            clock_ms=self.clock_ms[packs],
            last_ts_ms=self._last_ts_ms[packs],
            last=self._last[packs],
            head=head,
            busy=busy,
        )
        return gathered, states

    def _states_of(self, packs: Int32Array) -> tuple[Int64Array, Int64Array]:
        """Positions of the packs' states, and the row in `packs` of each."""
        of_pack = self.states["pack"]
        if len(of_pack) == 0:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        first = np.searchsorted(of_pack, packs, "left")
        counts = np.searchsorted(of_pack, packs, "right") - first
        slots = np.repeat(np.arange(len(packs)), counts)
        before = np.cumsum(counts) - counts
        return first[slots] + np.arange(len(slots)) - before[slots], slots

    def apply(self, packs: Packs, states: States) -> None:
        """Take what became of gathered packs: their columns, and all of their states that are to be kept."""
        if len(packs.pack) == 0:
            return
        self._remember(packs)
        replaced, _ = self._states_of(packs.pack)
        if len(replaced) == 0 and len(states) == 0:
            return
        kept = np.ones(len(self.states), np.bool_)
        kept[replaced] = False
        joined = np.concatenate([self.states[kept], states])
        self.states = joined[np.argsort(joined["pack"], kind="stable")]

    def _remember(self, packs: Packs) -> None:
        self.tenant[packs.pack] = packs.tenant
        self.tenure[packs.pack] = packs.tenure
        self.clock_ms[packs.pack] = packs.clock_ms
        self._last_ts_ms[packs.pack] = packs.last_ts_ms
        self._last[packs.pack] = packs.last
        self._touched[packs.pack] = True

    def replay(self, live: LiveReadings) -> None:
        """Move clocks and last values by readings that the rules have seen before, in their order of arrival."""
        if len(live) == 0:
            return
        packs, slot = unique_packs(live.pack)
        gathered, _ = self.gather(packs)
        kernels.replay(columns_of(live, slot, np.zeros(len(live), np.int32)), gathered)
        self._remember(gathered)

    def touched(self) -> RuleClocks:
        """Clocks and last values of the packs changed since `saved` was last called."""
        pack = np.flatnonzero(self._touched).astype(np.int32)
        return RuleClocks(
            pack,
            self.tenant[pack],
            self.tenure[pack],
            self.clock_ms[pack],
            self._last_ts_ms[pack].T,
            self._last[pack].T,
        )

    def saved(self, clocks: RuleClocks) -> None:
        """Forget that these packs were changed."""
        self._touched[clocks.pack] = False


def unique_packs(pack: Int32Array) -> tuple[Int32Array, Int32Array]:
    """The packs, ascending and each once, and the row of each reading's pack among them."""
    packs, slot = np.unique(pack, return_inverse=True)
    return packs, slot.astype(np.int32)


def columns_of(live: LiveReadings, slot: Int32Array, profile: Int32Array) -> Readings:
    """Live readings as the kernels take them. Rule time is min(event time, arrival), rule E17."""
    return Readings(
        slot=slot,
        profile=profile,
        tenant=np.ascontiguousarray(live.tenant),
        tenure=np.ascontiguousarray(live.tenure),
        ts_ms=np.ascontiguousarray(live.ts_ms),
        rule_ms=np.minimum(live.ts_ms, live.arrived_ms),
        skew_ms=live.ts_ms - live.arrived_ms,
        thousandths=np.ascontiguousarray(live.thousandths),
    )


def worth_keeping(states: States, clock_ms: Int64Array) -> BoolArray:
    """Which states say more than that all is normal: not normal, or raised within the longest window of flapping.

    clock_ms int64[s]: the rule clock of each state's pack. What is left out would never count again, so leaving it
    out at any moment changes nothing.
    """
    newest = states["raises_ms"][:, -1]
    # Added, not subtracted: the clock of a pack of which all was set aside has never gone, and would overflow.
    recent = (newest != NEVER_MS) & (newest + _FLAP_MS_MAX > clock_ms)
    keeping: BoolArray = (states["status"] != NORMAL) | recent
    return keeping


def _loaded(saved: Iterable[SavedRuleState]) -> States:
    rows = [(state.subject.pack, state) for state in saved if state.subject.pack is not None]
    made = np.zeros(len(rows), STATE)
    for one, (pack, state) in zip(made, rows, strict=True):
        one["pack"], one["rule"], one["tenant"] = pack, state.rule, state.tenant_id
        one["version"], one["status"] = state.version, STATUSES.index(state.status)
        one["flapping"] = state.flapping
        one["onset_ms"] = NEVER_MS if state.onset_ms is None else state.onset_ms
        one["clear_since_ms"] = NEVER_MS if state.clear_since_ms is None else state.clear_since_ms
        missing = RAISES_KEPT - len(state.raises_ms)
        one["raises_ms"] = [NEVER_MS] * missing + list(state.raises_ms)
    return made[np.argsort(made["pack"], kind="stable")]
