"""Figures of the fleet as it is now, from counts by place and state: one partition's, or those of all."""

from collections.abc import Mapping
from typing import Final, Protocol

import numpy as np

from aggregations.live import LATE_PERCENTS, PERCENTS, LiveFigures, live_figures
from domain.packs import Place
from domain.readings import Int32Array, Int64Array
from domain.tenancy import TenantId
from kernels.sketch_columns import STATES, Merged
from streams.live_alerts import KINDS

RATE_WINDOW_S: Final = 60
"""Seconds over which readings are counted; fewer when the picture is younger."""


class Figures(Protocol):
    """What counts packs in cells, and the figures that follow."""

    @property
    def as_of_s(self) -> int: ...

    @property
    def stale(self) -> Mapping[int, int | None]:
        """Partitions of which nothing was heard lately, and as of which second they are counted.

        None for one of which nothing was heard ever: its packs and open alerts are counted as the store has them.
        """
        return {}

    def cells_of(self, tenant: TenantId) -> list[tuple[int, Place]]: ...

    def merged(
        self, units: Int32Array, bounds: Int64Array, percents: Int64Array, late_percents: Int64Array
    ) -> Merged: ...

    def rates_of(self, cells: Int32Array, window_s: int) -> tuple[Int64Array, int]: ...

    def alerts_of(self, cells: Int32Array) -> Int64Array: ...

    def figures(self, cells: Int32Array, group: Int32Array, groups: int) -> list[LiveFigures]:
        """The figures of each group: those of the cells of which `group` int32[n] says so. O(cells), not O(packs)."""
        order = np.argsort(group, kind="stable")
        cells, group = cells[order].astype(np.int32), group[order]
        bounds = STATES * np.searchsorted(group, np.arange(groups + 1)).astype(np.int64)
        units = (STATES * cells[:, None] + np.arange(STATES, dtype=np.int32)).astype(np.int32).ravel()
        merged = self.merged(units, bounds, PERCENTS, LATE_PERCENTS)
        counted, window_s = self.rates_of(cells, RATE_WINDOW_S)
        rates = np.zeros(groups, np.int64)
        np.add.at(rates, group, counted)
        alerts = np.zeros((groups, len(KINDS)), np.int64)
        np.add.at(alerts, group, self.alerts_of(cells).sum(axis=1))
        return live_figures(merged, rates, window_s, alerts)

    def figures_by_state(self, cells: Int32Array) -> list[LiveFigures]:
        """The figures of the cells' packs that were never seen, are silent, and report."""
        state = np.arange(STATES, dtype=np.int32)[:, None]
        units = (STATES * cells + state).astype(np.int32).ravel()
        bounds = np.arange(STATES + 1, dtype=np.int64) * len(cells)
        merged = self.merged(units, bounds, PERCENTS, LATE_PERCENTS)
        counted, window_s = self.rates_of(cells, RATE_WINDOW_S)
        rates = np.zeros(STATES, np.int64)
        # Who sent within the window is reporting, because the limit of silence is no shorter.
        rates[-1] = counted.sum()
        alerts = self.alerts_of(cells).sum(axis=0)[:STATES]
        return live_figures(merged, rates, window_s, alerts)
