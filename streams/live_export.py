"""Live pictures of partitions as bytes, and one picture of all of them."""

import io
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import msgspec
import numpy as np

from domain.packs import Place
from domain.readings import Int32Array, Int64Array
from domain.tenancy import TenantId
from kernels.sketch_columns import ABSENT, EXTREMES, NONE, PAGE_BINS, PAGES, STATES, UNIT, Merged
from streams.live_alerts import KINDS, OpenAlerts
from streams.live_figures import RATE_WINDOW_S, Figures
from streams.live_sketch import Counts, LiveSketch

_LEVEL: Final = 1


class _Facts(msgspec.Struct, frozen=True):
    now_s: int
    window_s: int
    places: list[tuple[int, UUID | None, UUID | None]]


def export(sketch: LiveSketch, alerts: OpenAlerts) -> bytes:
    """What is counted, for `MergedPicture`."""
    counts = sketch.counts()
    cells = np.arange(len(counts.places), dtype=np.int32)
    rate, window_s = sketch.rates_of(cells, RATE_WINDOW_S)
    facts = _Facts(
        counts.now_s,
        window_s,
        [(place.tenant_id, place.site_id, place.model_id) for place in counts.places],
    )
    packed = io.BytesIO()
    np.savez(
        packed,
        allow_pickle=False,
        facts=np.frombuffer(msgspec.json.encode(facts), np.uint8),
        unit=counts.unit,
        page_of=counts.page_of,
        page=counts.page,
        holder=counts.holder,
        extreme=counts.extreme,
        rate=rate,
        alerts=alerts.counts_of(cells),
    )
    return zlib.compress(packed.getvalue(), _LEVEL)


@dataclass(frozen=True, slots=True, eq=False)
class PartitionPicture:
    """A partition's picture as it was exported: when it was last heard of, in ms since 1970."""

    partition_no: int
    reported_at_ms: int
    packed: bytes


@dataclass(frozen=True, slots=True)
class Unheard:
    """Partitions that have no picture yet, and what the store says of them.

    counted: place, state, kind of open alert, None for packs, and how many. Alerts about no pack have the state
    STATES.
    """

    partitions: Sequence[int] = ()
    counted: Sequence[tuple[Place, int, str | None, int]] = ()


class MergedPicture(Figures):
    """The pictures of all partitions as one, as of the newest.

    Packs of a partition that nothing was heard of for `stale_after_s` are counted as they were, and it is said so. Of
    one that nothing was heard of ever, packs and open alerts are counted, and no other figure.
    """

    def __init__(
        self,
        pictures: Sequence[PartitionPicture],
        now_ms: int,
        stale_after_s: float,
        unheard: Unheard,
    ) -> None:
        loaded = [_load(one) for one in pictures]
        self._as_of_s = max((counts.now_s for counts, *_ in loaded), default=now_ms // 1000)
        self._stale: dict[int, int | None] = {
            one.partition_no: counts.now_s
            for one, (counts, *_) in zip(pictures, loaded, strict=True)
            if one.reported_at_ms < now_ms - stale_after_s * 1000
        }
        if unheard.partitions:
            self._stale |= dict.fromkeys(unheard.partitions)
            loaded.append(_of_store(unheard, self._as_of_s))
        for counts, *_ in loaded:
            counts.pass_time(self._as_of_s)
        self._counts = Counts.joined([counts for counts, *_ in loaded], self._as_of_s)
        self._rate = np.concatenate([rate for _, rate, _, _ in loaded] or [np.zeros(0, np.int64)])
        self._window_s = min((window_s for _, _, window_s, _ in loaded), default=0)
        no_alerts = np.zeros((0, STATES + 1, len(KINDS)), np.int64)
        self._alerts = np.concatenate([no_alerts, *(alerts for *_, alerts in loaded)])
        self._of_tenant: dict[TenantId, list[tuple[int, Place]]] = {}
        for cell, place in enumerate(self._counts.places):
            self._of_tenant.setdefault(place.tenant_id, []).append((cell, place))

    @property
    def as_of_s(self) -> int:
        """The second as of which figures are, since 1970."""
        return self._as_of_s

    @property
    def stale(self) -> Mapping[int, int | None]:
        """Partitions of which nothing was heard lately, and as of which second they are counted; None: never heard."""
        return self._stale

    def cells_of(self, tenant: TenantId) -> list[tuple[int, Place]]:
        """The cells of a tenant, each with its place; a place has one in each partition."""
        return self._of_tenant.get(tenant, [])

    def merged(
        self, units: Int32Array, bounds: Int64Array, percents: Int64Array, late_percents: Int64Array
    ) -> Merged:
        """Counts of groups of units."""
        return self._counts.merged(units, bounds, percents, late_percents)

    def rates_of(self, cells: Int32Array, window_s: int) -> tuple[Int64Array, int]:
        """Live readings of each cell within the last seconds, int64[n], and within how many."""
        return self._rate[cells], min(window_s, self._window_s)

    def alerts_of(self, cells: Int32Array) -> Int64Array:
        """Open alerts of each cell: int64[n, STATES + 1, KINDS]."""
        found: Int64Array = self._alerts[cells]
        return found


def _load(picture: PartitionPicture) -> tuple[Counts, Int64Array, int, Int64Array]:
    with np.load(io.BytesIO(zlib.decompress(picture.packed)), allow_pickle=False) as npz:
        found: dict[str, Any] = dict(npz)
    facts = msgspec.json.decode(found["facts"].tobytes(), type=_Facts)
    places = tuple(Place(TenantId(tenant), site, model) for tenant, site, model in facts.places)
    names = ("page_of", "page", "holder", "extreme")
    unit = found["unit"].view(UNIT)  # NumPy's files know no alignment
    counts = Counts(facts.now_s, places, unit, *(found[name] for name in names))
    return counts, found["rate"], facts.window_s, found["alerts"]


def _of_store(unheard: Unheard, now_s: int) -> tuple[Counts, Int64Array, int, Int64Array]:
    """Packs and open alerts as the store counts them; no pack has a value or an arrival."""
    cells = {place: cell for cell, place in enumerate({place: None for place, *_ in unheard.counted})}
    units = STATES * len(cells)
    unit = np.zeros(units, UNIT)
    alerts = np.zeros((len(cells), STATES + 1, len(KINDS)), np.int64)
    for place, state, kind, count in unheard.counted:
        if kind is None:
            unit["packs"][STATES * cells[place] + state] += count
        else:
            alerts[cells[place], state, KINDS.index(kind)] += count
    counts = Counts(
        now_s,
        tuple(cells),
        unit,
        page_of=np.full((units, PAGES), NONE, np.int32),
        page=np.zeros((0, PAGE_BINS), np.int32),
        holder=np.full((EXTREMES, units), NONE, np.int32),
        extreme=np.full((EXTREMES, units), ABSENT, np.int32),
    )
    return counts, np.zeros(len(cells), np.int64), RATE_WINDOW_S, alerts
