"""Contenders measured in turns, so that what disturbs the machine disturbs all of them."""

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np


@dataclass(frozen=True, slots=True)
class Contender:
    """Something to be measured. `measure` does it once and gives one figure, such as a rate."""

    name: str
    measure: Callable[[], float]


@dataclass(slots=True)
class Samples:
    """The figures of one contender, one a round."""

    name: str
    figures: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return median(self.figures)

    @property
    def low(self) -> float:
        return min(self.figures)

    @property
    def high(self) -> float:
        return max(self.figures)


def alternate(contenders: Sequence[Contender], rounds: int) -> dict[str, Samples]:
    """Every contender once a round, each round in the opposite order; a first one warms up and isn't kept."""
    samples = {contender.name: Samples(contender.name) for contender in contenders}
    for number in range(rounds + 1):
        ordered = contenders if number % 2 else tuple(reversed(contenders))
        for contender in ordered:
            gc.collect()
            figure = contender.measure()
            if number:
                samples[contender.name].figures.append(figure)
    return samples


def ratio(ours: Samples, theirs: Samples) -> float:
    """The median of the ratios of each round, in which both met the same disturbances."""
    return median(mine / other for mine, other in zip(ours.figures, theirs.figures, strict=True))


def seconds_of(work: Callable[[], object], *, at_least_s: float = 0.02) -> float:
    """Wall seconds of one call, repeated until the clock's resolution doesn't matter."""
    return _seconds(work, time.perf_counter, at_least_s)


def processor_seconds_of(work: Callable[[], object], *, at_least_s: float = 0.02) -> float:
    """Processor seconds of one call in this process, repeated likewise."""
    return _seconds(work, time.process_time, at_least_s)


def _seconds(work: Callable[[], object], clock_s: Callable[[], float], at_least_s: float) -> float:
    repeats = 1
    while True:
        began_s = clock_s()
        for _ in range(repeats):
            work()
        took_s = clock_s() - began_s
        if took_s >= at_least_s:
            return took_s / repeats
        repeats = max(2 * repeats, int(repeats * at_least_s / max(took_s, 1e-6)))


def percentile(figures: Sequence[float], share: float) -> float:
    """The figure below which a share of them lie."""
    return float(np.quantile(np.asarray(figures), share))
