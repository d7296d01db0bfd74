"""Open alerts, counted by the place where they were raised and by the state of their pack now."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from domain.alert_rules import Severity, TenureScope, TransitionKind
from domain.alerts import AlertTransition, OpenAlert, Subject
from domain.packs import Place
from domain.readings import Int32Array, Int64Array
from domain.tenancy import TenantId
from kernels.sketch_columns import NONE, STATES
from streams.live_sketch import LiveSketch

KINDS: Final = (*map(str, Severity), "muted")
"""Columns of counts: alerts by severity, and those that a silence hides, of whichever."""

_MUTED: Final = len(Severity)
_WITHOUT_STATE: Final = STATES
"""Of alerts about no pack, or about one that the tenant doesn't hold any more."""

_BEGINS: Final = frozenset({TransitionKind.RAISED, TransitionKind.PROVISIONAL})
_ENDS: Final = frozenset({TransitionKind.CLEARED, TransitionKind.WITHDRAWN})

Identity = tuple[TenantId, int, int, Subject, int]


@dataclass(slots=True)
class _Counted:
    """An open alert, and the cell and state under which it is counted; None while its tenure's place isn't known."""

    alert: OpenAlert
    at: tuple[int, int, int] | None = None


class OpenAlerts:
    """Counts of open alerts, from those that the store had and what happened since. Belongs to the writer's thread."""

    def __init__(self, sketch: LiveSketch) -> None:
        self._sketch = sketch
        self._open: dict[Identity, _Counted] = {}
        self._of_pack: dict[int, set[Identity]] = {}
        self._of_tenure: dict[int, set[Identity]] = {}
        self._cells: dict[int, int] = {}
        self._counts = np.zeros((0, STATES + 1, len(KINDS)), np.int64)

    def begin(self, alerts: Iterable[OpenAlert]) -> None:
        """Count alerts that are open; one that is counted already is the one given now."""
        for alert in alerts:
            identity = (alert.tenant_id, alert.rule, alert.version, alert.subject, alert.onset_ms)
            self._end(identity)
            counted = self._open[identity] = _Counted(alert)
            if alert.subject.pack is not None:
                self._of_pack.setdefault(alert.subject.pack, set()).add(identity)
            if alert.tenure is not None:
                self._of_tenure.setdefault(alert.tenure, set()).add(identity)
            self._count(counted)

    def happened(self, transitions: Sequence[AlertTransition]) -> None:
        """Follow what rules and people did, in its order, once it is committed."""
        for one in transitions:
            if one.kind in _BEGINS:
                self.begin([_opened(one)])
            elif one.kind in _ENDS:
                self._end((one.tenant_id, one.rule, one.version, one.subject, one.onset_ms))

    def unknown_tenures(self) -> list[int]:
        """Tenures of open alerts whose place isn't known, so that they aren't counted yet."""
        return [tenure for tenure in self._of_tenure if tenure not in self._cells]

    def tenures_of(self, packs: Int32Array) -> list[int]:
        """The tenures of the open alerts about these packs."""
        found = [self._open[one] for pack in self._watched(packs) for one in self._of_pack[pack]]
        return sorted({one.alert.tenure for one in found if one.alert.tenure is not None})

    def learn(self, scopes: Iterable[TenureScope]) -> None:
        """Count the alerts of these tenures at their places."""
        for scope in scopes:
            place = Place(scope.tenant_id, scope.site_id, scope.model_id)
            self._cells[scope.number] = self._sketch.cell_of(place)
            for identity in self._of_tenure.get(scope.number, ()):
                self._count(self._open[identity])

    def moved(self, packs: Int32Array) -> None:
        """Count the alerts of packs that are in another state, or elsewhere, anew."""
        for pack in self._watched(packs):
            for identity in self._of_pack[pack]:
                self._count(self._open[identity])

    def _watched(self, packs: Int32Array) -> list[int]:
        """Those of the packs that open alerts are about."""
        return [pack for pack in packs.tolist() if pack in self._of_pack] if self._of_pack else []

    def counts_of(self, cells: Int32Array) -> Int64Array:
        """Open alerts of each cell: int64[n, STATES + 1, KINDS], by the state of their pack, last those without one."""
        counts = self._counts
        found = np.zeros((len(cells), *counts.shape[1:]), np.int64)
        known = cells < len(counts)
        found[known] = counts[cells[known]]
        return found

    def _end(self, identity: Identity) -> None:
        counted = self._open.pop(identity, None)
        if counted is None:
            return
        if counted.at is not None:
            self._counts[counted.at] -= 1
        alert = counted.alert
        _discard(self._of_pack, alert.subject.pack, identity)
        _discard(self._of_tenure, alert.tenure, identity)
        if alert.tenure not in self._of_tenure and alert.tenure is not None:
            self._cells.pop(alert.tenure, None)

    def _count(self, counted: _Counted) -> None:
        alert = counted.alert
        if counted.at is not None:
            self._counts[counted.at] -= 1
            counted.at = None
        if alert.tenure is None:
            cell = self._sketch.cell_of(Place(alert.tenant_id, None, None))
        elif alert.tenure in self._cells:
            cell = self._cells[alert.tenure]
        else:
            return
        if cell >= len(self._counts):
            counts = np.zeros((2 * cell + 1, *self._counts.shape[1:]), np.int64)
            counts[: len(self._counts)] = self._counts
            self._counts = counts
        counted.at = (
            cell,
            self._state_of(alert),
            _MUTED if alert.muted else list(Severity).index(alert.severity),
        )
        self._counts[counted.at] += 1

    def _state_of(self, alert: OpenAlert) -> int:
        if alert.subject.pack is None:
            return _WITHOUT_STATE
        pack = np.array([alert.subject.pack], np.int32)
        if self._sketch.tenants_of(pack)[0] != alert.tenant_id:
            return _WITHOUT_STATE
        state = int(self._sketch.states_of(pack)[0])
        return _WITHOUT_STATE if state == NONE else state


def _opened(one: AlertTransition) -> OpenAlert:
    return OpenAlert(
        tenant_id=one.tenant_id,
        rule=one.rule,
        version=one.version,
        subject=one.subject,
        onset_ms=one.onset_ms,
        severity=one.severity,
        muted=one.silence_id is not None,
        tenure=one.tenure,
    )


def _discard(among: dict[int, set[Identity]], key: int | None, identity: Identity) -> None:
    if key is None:
        return
    among[key].discard(identity)
    if not among[key]:
        del among[key]
