"""Slow, obvious twins of the kernels that choose points."""

from itertools import pairwise

Point = tuple[int, int]


def buckets(rows: list[int], count: int) -> list[list[int]]:
    """The rows in so many runs of equally many, as nearly as that goes."""
    cuts = [bucket * len(rows) // count for bucket in range(count + 1)]
    return [rows[first:behind] for first, behind in pairwise(cuts)]


def lttb(points: list[Point], wanted: int) -> list[int]:
    """Rows by largest triangles, as Steinarsson's figure of the algorithm tells it."""
    if wanted >= len(points):
        return list(range(len(points)))
    runs = [*buckets(list(range(1, len(points) - 1)), wanted - 2), [len(points) - 1]]
    chosen = [0]
    for run, following in pairwise(runs):
        begins, low = points[chosen[-1]]
        mean_x = sum(points[row][0] - begins for row in following) / len(following)
        mean_y = sum(points[row][1] for row in following) / len(following) - low
        areas = [abs(mean_x * (points[row][1] - low) - (points[row][0] - begins) * mean_y) for row in run]
        chosen.append(run[areas.index(max(areas))])
    return [*chosen, len(points) - 1]


def min_max(values: list[int], wanted: int) -> list[int]:
    """Both ends, and the first least and the first largest value of each bucket between them."""
    if wanted >= len(values):
        return list(range(len(values)))
    chosen = {0, len(values) - 1}
    for run in buckets(list(range(1, len(values) - 1)), (wanted - 2) // 2):
        chosen |= {
            min(run, key=lambda row: (values[row], row)),
            min(run, key=lambda row: (-values[row], row)),
        }
    return sorted(chosen)
