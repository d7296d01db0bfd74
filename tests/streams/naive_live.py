"""What the live picture must say, from a plain list of what happened to each pack; shares no code with it."""

from dataclasses import dataclass, field
from typing import Any

MEASURES = (
    "state_of_charge_pct", "state_of_health_pct", "temperature_c", "voltage_v", "current_a", "cell_voltage_min_v",
    "cell_voltage_max_v",
)  # fmt: skip

Place = tuple[int, str | None, str | None]


@dataclass
class Pack:
    """place, since_ms: where it is held, from when by that tenant. values: (time, value) of each stored value."""

    place: Place | None = None
    since_ms: int = -(2**62)
    values: dict[str, dict[int, int]] = field(default_factory=lambda: {name: {} for name in MEASURES})
    largest_ms: int | None = None
    arrivals: list[tuple[int, int, int, int]] = field(default_factory=list)
    """Tenant, skew, event time, arrival."""

    def latest(self, name: str) -> int | None:
        stored = self.values[name]
        if not stored or max(stored) < self.since_ms:
            return None
        return stored[max(stored)]

    def own_arrivals(self) -> list[tuple[int, int, int]]:
        """Of the last run of arrivals of one tenant, if it is the holder: skew, event time and arrival."""
        run: list[tuple[int, int, int]] = []
        for tenant, skew_ms, ts_ms, arrived_ms in reversed(self.arrivals):
            if self.place is None or tenant != self.place[0]:
                break
            run.append((skew_ms, ts_ms, arrived_ms))
        return run

    def state(self, now_s: int, silent_after_s: int) -> str:
        arrived = [arrived_ms // 1000 for _, _, arrived_ms in self.own_arrivals()]
        if arrived:
            return "reporting" if now_s - max(arrived) < silent_after_s else "silent"
        seen = self.largest_ms is not None and self.largest_ms >= self.since_ms
        return "silent" if seen else "never_seen"

    def skew_ms(self) -> int:
        newest_ms = max(ts_ms for _, ts_ms, _ in self.own_arrivals())
        return min(skew_ms for skew_ms, ts_ms, _ in self.own_arrivals() if ts_ms == newest_ms)


def nearest_rank(values: list[int], percent: int) -> int:
    ordered = sorted(values)
    return ordered[max(-(-percent * len(ordered) // 100), 1) - 1]


def tenths(thousandths: int) -> int:
    return (thousandths + 50) // 100


@dataclass
class Fleet:
    silent_after_s: int
    skew_s_max: int
    now_s: int
    began_s: int
    packs: dict[int, Pack] = field(default_factory=dict)
    rate: list[tuple[Place, int]] = field(default_factory=list)
    """Place and second of every live reading that counts."""

    alerts: dict[Any, tuple[Place, int | None, str]] = field(default_factory=dict)
    """By identity: where it was raised, the pack, and its kind."""

    def pack(self, number: int) -> Pack:
        return self.packs.setdefault(number, Pack())

    def chosen(self, places: set[Place], state: str | None = None) -> list[Pack]:
        return [
            pack
            for pack in self.packs.values()
            if pack.place in places and state in (None, pack.state(self.now_s, self.silent_after_s))
        ]

    def figures(self, places: set[Place], state: str | None = None) -> dict[str, Any]:
        packs = self.chosen(places, state)
        states = [pack.state(self.now_s, self.silent_after_s) for pack in packs]
        window_s = min(60, self.now_s - self.began_s)
        readings = sum(
            place in places and self.now_s - window_s <= second < self.now_s for place, second in self.rate
        )
        return {
            "packs": {name: states.count(name) for name in ("reporting", "silent", "never_seen")},
            "readings_per_s": readings / window_s if window_s and state in (None, "reporting") else 0.0,
            "charge": self._spread(packs, "state_of_charge_pct", 20, 50, 1000),
            "health": self._spread(packs, "state_of_health_pct", 60, 20, 1200),
            "hottest": self._extreme(packs, "temperature_c", max),
            "coldest": self._extreme(packs, "temperature_c", min),
            "highest_cell": self._extreme(packs, "cell_voltage_max_v", max),
            "lowest_cell": self._extreme(packs, "cell_voltage_min_v", min),
            "ages_s": [
                self.now_s - max(arrived_ms for _, _, arrived_ms in pack.own_arrivals()) // 1000
                for pack in packs
                if pack.own_arrivals()
            ],
            "skews_ms": [pack.skew_ms() for pack in packs if pack.own_arrivals()],
            "alerts": self._alerts(places, state),
        }

    def _spread(self, packs: list[Pack], name: str, buckets: int, width: int, top: int) -> dict[str, Any]:
        values = [value for pack in packs if (value := pack.latest(name)) is not None]
        rounded = [tenths(value) for value in values]
        counts = [0] * buckets
        for value in rounded:
            counts[min(value // width, buckets - 1)] += 1
        assert all(0 <= value <= top for value in rounded)
        return {
            "packs": len(values),
            "mean": sum(values) / len(values) / 1000 if values else None,
            "quantiles": [nearest_rank(rounded, percent) / 10 for percent in (0, 5, 25, 50, 75, 95, 100)]
            if values
            else [],
            "buckets": counts,
        }

    def _extreme(self, packs: list[Pack], name: str, choose: Any) -> tuple[float, set[int]] | None:
        """The value and all packs that have it."""
        values = {id(pack): value for pack in packs if (value := pack.latest(name)) is not None}
        if not values:
            return None
        found = choose(values.values())
        numbers = {number for number, pack in self.packs.items() if values.get(id(pack)) == found}
        return found / 1000, numbers

    def _alerts(self, places: set[Place], state: str | None) -> dict[str, int]:
        counts = dict.fromkeys(("info", "warning", "critical", "muted"), 0)
        for place, number, kind in self.alerts.values():
            if place not in places:
                continue
            if state is not None:
                pack = None if number is None else self.pack(number)
                if pack is None or pack.place is None or pack.place[0] != place[0]:
                    continue
                if pack.state(self.now_s, self.silent_after_s) != state:
                    continue
            counts[kind] += 1
        return counts
