"""The fleet as it is now: packs in their places and states, and open alerts; pure, from what it is told."""

from collections.abc import Iterable, Sequence

import numpy as np

from domain.alert_rules import TenureScope
from domain.alerts import AlertTransition, OpenAlert
from domain.clock import MILLISECONDS_PER_SECOND
from domain.packs import ALWAYS_MS, Place
from domain.readings import Holders, Int32Array, Int64Array, LastArrivals, LiveReadings
from domain.tenancy import TenantId
from kernels.sketch_columns import NONE, Latest, Merged
from streams.live_alerts import OpenAlerts
from streams.live_export import export
from streams.live_figures import Figures
from streams.live_sketch import LiveSketch
from streams.state import State


class LivePicture(Figures):
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

    def merged(
        self, units: Int32Array, bounds: Int64Array, percents: Int64Array, late_percents: Int64Array
    ) -> Merged:
        """Counts of groups of units."""
        return self._sketch.merged(units, bounds, percents, late_percents)

    def rates_of(self, cells: Int32Array, window_s: int) -> tuple[Int64Array, int]:
        """Live readings of each cell within the last seconds, int64[n], and within how many."""
        return self._sketch.rates_of(cells, window_s)

    def alerts_of(self, cells: Int32Array) -> Int64Array:
        """Open alerts of each cell: int64[n, STATES + 1, KINDS]."""
        return self.alerts.counts_of(cells)

    def exported(self) -> bytes:
        """The picture as it can be put together with those of other partitions."""
        return export(self._sketch, self.alerts)

    def sizes(self) -> dict[str, int]:
        """Bytes by what they grow with."""
        return self._sketch.sizes()


def _latest(state: State, pack: Int32Array) -> Latest:
    if len(pack):
        state.make_room(int(pack.max()))
    return state.latest()
