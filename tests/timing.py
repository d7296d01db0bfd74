"""Whether two questions can be told apart by how long their answers take."""

import random
import statistics
import time
from collections.abc import Callable, Sequence

Ask = Callable[[], object]


def interleaved(first: Ask, second: Ask, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds that each took, asked in turns, so that both see the same load; who begins changes each round."""
    took: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        for which in (0, 1) if number % 2 == 0 else (1, 0):
            began_s = time.perf_counter()
            (first, second)[which]()
            took[which].append(time.perf_counter() - began_s)
    return took


def median_ratio(first: Sequence[float], second: Sequence[float]) -> float:
    """How many times as long the slower one takes, by medians."""
    slower, faster = sorted((statistics.median(first), statistics.median(second)), reverse=True)
    return slower / faster


def ratio_when_calm(first: Ask, second: Ask, rounds: int, below: float, tries: int) -> float:
    """The smallest ratio of medians in a few tries; no further one is made once it is below the bound.

    A load that comes and goes can part two that are alike, but doesn't do so again and again.
    """
    found = float("inf")
    for _ in range(tries):
        found = min(found, median_ratio(*interleaved(first, second, rounds)))
        if found < below:
            break
    return found


def permutation_p(first: Sequence[float], second: Sequence[float], shuffles: int, seed: int) -> float:
    """How often a difference of medians as large comes about when the two are dealt out by chance."""
    drawn = random.Random(seed)
    pairs = list(zip(first, second, strict=True))
    found = abs(statistics.median(first) - statistics.median(second))
    as_large = 0
    for _ in range(shuffles):
        dealt = [pair if drawn.random() < 0.5 else pair[::-1] for pair in pairs]
        one, other = zip(*dealt, strict=True)
        as_large += abs(statistics.median(one) - statistics.median(other)) >= found
    return (as_large + 1) / (shuffles + 1)
