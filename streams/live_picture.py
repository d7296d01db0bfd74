"""The fleet as it is now: packs in their places and states, and open alerts; pure, from what it is told."""

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from aggregations.live import LATE_PERCENTS, PERCENTS, LiveFigures, live_figures
from domain.alert_rules import TenureScope
from domain.alerts import AlertTransition, OpenAlert
from domain.clock import MILLISECONDS_PER_SECOND
from domain.packs import ALWAYS_MS, Place
from domain.readings import Holders, Int32Array, LastArrivals, LiveReadings
from domain.tenancy import TenantId
from kernels.sketch_columns import NONE, STATES, Latest
from streams.live_alerts import KINDS, OpenAlerts
from streams.live_sketch import LiveSketch
from streams.state import State

RATE_WINDOW_S: Final = 60
"""Seconds over which readings are counted; fewer when the picture is younger."""


class LivePicture:
    """Told by the writer's thread what was committed; read by others.

    silent_after_s: a pack that hasn't reported live for so long is silent. skew_s_max: one whose clock is further off
    is skewed.
    """

    def __init__(self, silent_after_s: int, skew_s_max: int, now_ms: int) -> None:
        self._sketch = LiveSketch(silent_after_s, skew_s_max, now_ms // MILLISECONDS_PER_SECOND)
        self.alerts = OpenAlerts(self._sketch)

    @property
    def as_of_s(self) -> int:
        """The second as of which figures are, since 1970."""
        return self._sketch.now_s

    # Told by the writer's thread.

    def load(
        self,
        state: State,
        holders: Holders,
        arrivals: LastArrivals,
        later: LiveReadings,
        alerts: Iterable[OpenAlert],
    ) -> None:
        """Begin with what the store says; later: live readings committed since the arrivals were saved."""
        self._sketch.remember(arrivals)
        self.hold(state, holders.pack, holders)
        self._sketch.arrive(np.unique(later.pack), later, _latest(state, later.pack))
        self._sketch.forget_rates()
        self._sketch.take_moved()
        self.alerts.begin(alerts)

    def hold(self, state: State, changed: Int32Array, holders: Holders) -> None:
        """Let packs be where they are held now; those of `changed` that aren't among the held ones are nowhere."""
        gone = np.setdiff1d(changed, holders.pack).astype(np.int32)
        cells = np.array([self._sketch.cell_of(place) for place in holders.places], np.int32)
        pack = np.concatenate([holders.pack, gone])
        cell = np.concatenate([cells[holders.place], np.full(len(gone), NONE, np.int32)])
        since_ms = np.concatenate([holders.since_ms, np.full(len(gone), ALWAYS_MS, np.int64)])
        self._sketch.place(pack, cell, since_ms, _latest(state, pack))
        self._follow_moves()

    def knows_holders(self, live: LiveReadings) -> bool:
        """Whether each reading's tenant is, by what was told, the one that holds its pack."""
        return bool((self._sketch.tenants_of(live.pack) == live.tenant).all())

    def arrive(self, state: State, pack: Int32Array, live: LiveReadings) -> None:
        """Count packs, ascending and each once, as the state has them now, and these live readings of theirs."""
        self._sketch.arrive(pack, live, _latest(state, pack))
        self._follow_moves()

    def pass_time(self, state: State, now_ms: int) -> None:
        """Let time go by; packs that have been silent too long fall silent."""
        self._sketch.pass_time(now_ms // MILLISECONDS_PER_SECOND, state.latest())
        self._follow_moves()

    def happened(self, transitions: Sequence[AlertTransition]) -> None:
        """Count alerts that began and ended."""
        self.alerts.happened(transitions)

    def learn(self, scopes: Iterable[TenureScope]) -> None:
        """Count alerts at the places of their tenures."""
        self.alerts.learn(scopes)

    def arrivals_of(self, pack: Int32Array) -> LastArrivals:
        """The last arrivals of packs, to be saved."""
        return self._sketch.arrivals_of(pack)

    def _follow_moves(self) -> None:
        for packs in self._sketch.take_moved():
            self.alerts.moved(packs)

    # Read by others.

    def cells_of(self, tenant: TenantId) -> list[tuple[int, Place]]:
        """The cells of a tenant, each with its place."""
        return self._sketch.cells_of(tenant)

    def figures(self, cells: Int32Array, group: Int32Array, groups: int) -> list[LiveFigures]:
        """The figures of each group: those of the cells of which `group` int32[n] says so. O(cells), not O(packs)."""
        order = np.argsort(group, kind="stable")
        cells, group = cells[order].astype(np.int32), group[order]
        bounds = STATES * np.searchsorted(group, np.arange(groups + 1)).astype(np.int64)
        units = (STATES * cells[:, None] + np.arange(STATES, dtype=np.int32)).astype(np.int32).ravel()
        merged = self._sketch.merged(units, bounds, PERCENTS, LATE_PERCENTS)
        counted, window_s = self._sketch.rates_of(cells, RATE_WINDOW_S)
        rates = np.zeros(groups, np.int64)
        np.add.at(rates, group, counted)
        alerts = np.zeros((groups, len(KINDS)), np.int64)
        np.add.at(alerts, group, self.alerts.counts_of(cells).sum(axis=1))
        return live_figures(merged, rates, window_s, alerts)

    def figures_by_state(self, cells: Int32Array) -> list[LiveFigures]:
        """The figures of the cells' packs that were never seen, are silent, and report."""
        state = np.arange(STATES, dtype=np.int32)[:, None]
        units = (STATES * cells + state).astype(np.int32).ravel()
        bounds = np.arange(STATES + 1, dtype=np.int64) * len(cells)
        merged = self._sketch.merged(units, bounds, PERCENTS, LATE_PERCENTS)
        counted, window_s = self._sketch.rates_of(cells, RATE_WINDOW_S)
        rates = np.zeros(STATES, np.int64)
        # Who sent within the window is reporting, because the limit of silence is no shorter.
        rates[-1] = counted.sum()
        alerts = self.alerts.counts_of(cells).sum(axis=0)[:STATES]
        return live_figures(merged, rates, window_s, alerts)

    def sizes(self) -> dict[str, int]:
        """Bytes by what they grow with."""
        return self._sketch.sizes()


def _latest(state: State, pack: Int32Array) -> Latest:
    if len(pack):
        state.make_room(int(pack.max()))
    return state.latest()
