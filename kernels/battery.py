"""An equivalent circuit with heat and ageing for each of many packs, one step of time after the other.

The circuit of a cell is an open-circuit voltage that follows from its charge, a resistance, and one resistance beside
a capacitor (Gregory L. Plett, "Battery Management Systems, Volume I", Artech House 2015, chapter 2). Heat is what
both resistances lose (D. Bernardi, E. Pawlikowski, J. Newman, "A General Energy Balance for Battery Systems", J.
Electrochem. Soc. 132, 1985, without the entropic term), and leaves through one thermal resistance. Capacity is lost
in proportion to charge throughput, and with the square root of time (I. Bloom et al., "An accelerated calendar and
cycle life study of Li-ion cells", J. Power Sources 101, 2001); both are faster when it is warm, by Arrhenius' law.
"""

import math
from enum import IntEnum
from typing import Final

import numpy as np
import numpy.typing as npt
from numba import njit

Float64Array = npt.NDArray[np.float64]

KELVIN: Final = 273.15
REFERENCE_KELVIN: Final = 298.15
YEAR_S: Final = 365.25 * 86_400
HOUR_S: Final = 3_600.0


class State(IntEnum):
    """Rows of what changes in a pack. CHARGE: share of what it can hold; POLARIZATION_V: over the capacitor."""

    CHARGE = 0
    POLARIZATION_V = 1
    TEMPERATURE_C = 2
    CYCLE_FADE = 3
    CALENDAR_FADE_SQUARED = 4


class Given(IntEnum):
    """Rows of what a pack is made of. Resistances are of one cell at 25 °C, for the pack's whole current.

    SPREAD: by how much of the charge the weakest and the strongest cell differ from the mean. *_KELVIN: activation
    energy over the gas constant. FADE_RESISTANCE: by how many times the lost share of capacity the resistance grows.
    """

    RATED_AH = 0
    CAPACITY_SHARE = 1
    CELLS = 2
    RESISTANCE_OHM = 3
    POLARIZATION_OHM = 4
    POLARIZATION_S = 5
    RESISTANCE_KELVIN = 6
    CELL_MIN_V = 7
    CELL_MAX_V = 8
    HEAT_CAPACITY_J_PER_K = 9
    THERMAL_K_PER_W = 10
    FADE_PER_CYCLE = 11
    FADE_PER_SQUARE_ROOT_YEAR = 12
    AGEING_KELVIN = 13
    FADE_RESISTANCE = 14
    SPREAD = 15


@njit("float64(float64[::1], float64)", nogil=True, cache=True)
def open_circuit_v(curve_v, charge):  # type: ignore[no-untyped-def]
    place = min(max(charge, 0.0), 1.0) * (len(curve_v) - 1)
    below = min(int(place), len(curve_v) - 2)
    return curve_v[below] + (place - below) * (curve_v[below + 1] - curve_v[below])


@njit(
    "void(float64, float64[::1], float64[::1], int64[::1], float64[:, ::1], float64[:, ::1], float64[:, ::1],"
    " float64[:, ::1])",
    nogil=True,
    cache=True,
)
def advance(dt_s, wanted_a, ambient_c, curve_of, curves_v, given, state, measured):  # type: ignore[no-untyped-def]
    """Let all packs carry a current for a while, and write what their sensors show at its end.

    dt_s: length of the step. wanted_a float64[n]: the current asked for, charging positive; a pack carries no more
    than keeps its weakest and strongest cell within their voltages, and than it can hold or give. ambient_c
    float64[n]. curve_of int64[n]: row of curves_v float64[curves, points], open-circuit voltage of a cell at evenly
    spaced charges from 0 to 1. given float64[Given, n]. state float64[State, n], changed in place. measured
    float64[measures, n], rows as in MEASURES, written.
    """
    for pack in range(len(wanted_a)):
        curve_v = curves_v[curve_of[pack]]
        charge, polarization_v = state[0, pack], state[1, pack]
        kelvin = state[2, pack] + 273.15
        fade = state[3, pack] + math.sqrt(state[4, pack])
        rated_ah, cells = given[0, pack], given[2, pack]
        capacity_ah = rated_ah * given[1, pack] * max(0.0, 1.0 - fade)
        warmth = 1.0 / kelvin - 1.0 / 298.15
        resistance_ohm = (
            given[3, pack] * math.exp(given[6, pack] * warmth) * (1.0 + given[14, pack] * max(0.0, fade))
        )
        decay = math.exp(-dt_s / given[5, pack])
        # By the end of the step both resistances count, the second as far as its capacitor is charged by then.
        whole_ohm = resistance_ohm + given[4, pack] * (1.0 - decay)
        high_v = open_circuit_v(curve_v, charge + given[15, pack]) + polarization_v * decay
        low_v = open_circuit_v(curve_v, charge - given[15, pack]) + polarization_v * decay
        full_a = min((given[8, pack] - high_v) / whole_ohm, (1.0 - charge) * capacity_ah * 3600.0 / dt_s)
        empty_a = max((given[7, pack] - low_v) / whole_ohm, -charge * capacity_ah * 3600.0 / dt_s)
        current_a = min(max(wanted_a[pack], min(0.0, empty_a)), max(0.0, full_a))
        polarization_v = polarization_v * decay + current_a * given[4, pack] * (1.0 - decay)
        if capacity_ah > 0.0:
            charge = min(max(charge + current_a * dt_s / (3600.0 * capacity_ah), 0.0), 1.0)
        heat_w = cells * (current_a**2 * resistance_ohm + polarization_v**2 / given[4, pack])
        steady_c = ambient_c[pack] + heat_w * given[10, pack]
        temperature_c = steady_c + (state[2, pack] - steady_c) * math.exp(
            -dt_s / (given[10, pack] * given[9, pack])
        )
        haste = math.exp(-given[13, pack] * (1.0 / (temperature_c + 273.15) - 1.0 / 298.15))
        cycles = abs(current_a) * dt_s / 3600.0 / (2.0 * rated_ah)
        state[0, pack] = charge
        state[1, pack] = polarization_v
        state[2, pack] = temperature_c
        state[3, pack] += given[11, pack] * haste * cycles
        state[4, pack] += (given[12, pack] * haste) ** 2 * dt_s / (365.25 * 86_400.0)
        drop_v = current_a * resistance_ohm + polarization_v
        measured[0, pack] = 100.0 * charge
        measured[1, pack] = 100.0 * capacity_ah / rated_ah
        measured[2, pack] = temperature_c
        measured[3, pack] = cells * (open_circuit_v(curve_v, charge) + drop_v)
        measured[4, pack] = current_a
        measured[5, pack] = open_circuit_v(curve_v, charge - given[15, pack]) + drop_v
        measured[6, pack] = open_circuit_v(curve_v, charge + given[15, pack]) + drop_v


def new_state(charge: Float64Array, temperature_c: Float64Array) -> Float64Array:
    """The state of packs that have rested, as new: float64[State, n]."""
    state = np.zeros((len(State), len(charge)))
    state[State.CHARGE] = charge
    state[State.TEMPERATURE_C] = temperature_c
    return state
