"""Chemistries and uses of simulated packs: data, read once."""

from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from ingest.map_file import load_map_file

_FILE: Final = Path(__file__).with_name("chemistries.yaml")


@dataclass(frozen=True, slots=True)
class CellChemistry:
    """A kind of cell. open_circuit_v: at evenly spaced charges from 0 to 1. *_c_ohm: ohms times ampere-hours."""

    open_circuit_v: tuple[float, ...]
    cell_min_v: float
    cell_max_v: float
    resistance_c_ohm: float
    polarization_c_ohm: float
    polarization_s: float
    resistance_kelvin: float
    fade_per_cycle: float
    fade_per_square_root_year: float
    ageing_kelvin: float


@dataclass(frozen=True, slots=True)
class PackModel:
    """How cells in series make a pack."""

    cells: int
    rated_ah: float
    heat_capacity_j_per_k: float
    thermal_k_per_w: float


@dataclass(frozen=True, slots=True)
class Use:
    """What packs are used for, by the hours of their site's clock; rates are multiples of the rated capacity."""

    model: PackModel
    works_h: tuple[float, float]
    weekend_share: float
    working_share: float
    work_rate_c: float
    brake_share: float
    brake_rate_c: float
    charges_h: tuple[float, float]
    charge_rate_c: float
    low: float
    enough: float


@lru_cache(maxsize=1)
def _content() -> dict[str, Any]:
    return load_map_file(_FILE)


def _made(kind: type, told: dict[str, Any]) -> Any:
    values = {field.name: told[field.name] for field in fields(kind)}
    return kind(
        **{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    )


def chemistries() -> dict[str, CellChemistry]:
    """By name, such as LFP."""
    return {name: _made(CellChemistry, told) for name, told in _content()["chemistries"].items()}


def uses() -> dict[str, Use]:
    """By name, such as bus."""
    return {
        name: _made(Use, told | {"model": _made(PackModel, told["model"])})
        for name, told in _content()["uses"].items()
    }
