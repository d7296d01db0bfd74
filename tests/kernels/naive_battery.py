"""One pack through one step, in plain floats, by the equations that `kernels.battery` names."""

from dataclasses import dataclass
from math import exp, sqrt


@dataclass
class NaivePack:
    """What a pack is made of (rows of Given) and how it stands (rows of State)."""

    given: list[float]
    state: list[float]
    curve_v: list[float]

    def open_circuit_v(self, charge: float) -> float:
        steps = len(self.curve_v) - 1
        place = min(max(charge, 0.0), 1.0) * steps
        for left in range(steps):
            if place <= left + 1:
                share = place - left
                return self.curve_v[left] * (1 - share) + self.curve_v[left + 1] * share
        return self.curve_v[-1]

    def advance(self, dt_s: float, wanted_a: float, ambient_c: float) -> list[float]:
        """What is measured after the step, in the order of MEASURES."""
        (rated_ah, share, cells, ohm, polar_ohm, polar_s, ohm_kelvin, low_v, high_v, joules, kelvin_per_w,
         per_cycle, per_root_year, ageing_kelvin, fade_ohm, spread) = self.given  # fmt: skip
        charge, polar_v, celsius, cycle_fade, calendar_squared = self.state
        fade = cycle_fade + sqrt(calendar_squared)
        capacity_ah = rated_ah * share * max(0.0, 1 - fade)
        cold = 1 / (celsius + 273.15) - 1 / 298.15
        now_ohm = ohm * exp(ohm_kelvin * cold) * (1 + fade_ohm * max(0.0, fade))
        left = exp(-dt_s / polar_s)
        both_ohm = now_ohm + polar_ohm * (1 - left)
        most_a = max(
            0.0,
            min(
                (high_v - self.open_circuit_v(charge + spread) - polar_v * left) / both_ohm,
                (1 - charge) * capacity_ah * 3600 / dt_s,
            ),
        )
        least_a = min(
            0.0,
            max(
                (low_v - self.open_circuit_v(charge - spread) - polar_v * left) / both_ohm,
                -charge * capacity_ah * 3600 / dt_s,
            ),
        )
        current_a = min(max(wanted_a, least_a), most_a)
        polar_v = polar_v * left + current_a * polar_ohm * (1 - left)
        if capacity_ah > 0:
            charge = min(max(charge + current_a * dt_s / 3600 / capacity_ah, 0.0), 1.0)
        watts = cells * (current_a * current_a * now_ohm + polar_v * polar_v / polar_ohm)
        steady_c = ambient_c + watts * kelvin_per_w
        celsius = steady_c + (celsius - steady_c) * exp(-dt_s / (kelvin_per_w * joules))
        haste = exp(ageing_kelvin * (1 / 298.15 - 1 / (celsius + 273.15)))
        cycle_fade += per_cycle * haste * abs(current_a) * dt_s / 3600 / rated_ah / 2
        calendar_squared += (per_root_year * haste) ** 2 * dt_s / (365.25 * 86_400)
        self.state = [charge, polar_v, celsius, cycle_fade, calendar_squared]
        drop_v = current_a * now_ohm + polar_v
        return [
            100 * charge,
            100 * capacity_ah / rated_ah,
            celsius,
            cells * (self.open_circuit_v(charge) + drop_v),
            current_a,
            self.open_circuit_v(charge - spread) + drop_v,
            self.open_circuit_v(charge + spread) + drop_v,
        ]
