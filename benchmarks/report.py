"""Results as tables for people and as JSON for machines."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.measuring import Samples, ratio


@dataclass(frozen=True, slots=True)
class Line:
    """One contender's result. against: its ratio to each of the compared ones."""

    name: str
    median: float
    low: float
    high: float
    against: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Goal:
    """What was promised, and what came out."""

    text: str
    wanted: float
    measured: float
    at_least: bool = True

    @property
    def met(self) -> bool:
        return self.measured >= self.wanted if self.at_least else self.measured <= self.wanted


@dataclass(frozen=True, slots=True)
class Report:
    """One table. unit: of its figures. facts: what one must know to read them."""

    title: str
    unit: str
    lines: tuple[Line, ...]
    facts: tuple[str, ...] = ()
    goals: tuple[Goal, ...] = ()


def compare(samples: dict[str, Samples], against: Sequence[str]) -> tuple[Line, ...]:
    """A line for each contender, with its ratios to the named ones."""
    return tuple(
        Line(
            one.name,
            one.median,
            one.low,
            one.high,
            {name: ratio(one, samples[name]) for name in against},
        )
        for one in samples.values()
    )


def show(report: Report, console: Console) -> None:
    """Print a report."""
    compared = list(dict.fromkeys(name for line in report.lines for name in line.against))
    table = Table(title=report.title, title_justify="left", title_style="bold")
    table.add_column("")
    for head in (f"median, {report.unit}", "low", "high", *(f"to {name}" for name in compared)):
        table.add_column(head, justify="right", overflow="fold")
    for line in report.lines:
        ratios = [_figure(line.against[name]) if name in line.against else "" for name in compared]
        table.add_row(line.name, _figure(line.median), _figure(line.low), _figure(line.high), *ratios)
    console.print(table)
    for fact in report.facts:
        console.print(f"  {fact}", style="dim", highlight=False)
    for goal in report.goals:
        sign, verdict = ("≥" if goal.at_least else "≤"), ("met" if goal.met else "not met")
        console.print(
            f"  Goal: {goal.text} {sign} {_figure(goal.wanted)}: {_figure(goal.measured)}, {verdict}",
            style="green" if goal.met else "yellow",
            highlight=False,
        )
    console.print()


def _figure(number: float) -> str:
    """Three digits that count.

    >>> _figure(0.12345), _figure(1234.5), _figure(1_234_567)
    ('0.123', '1,234', '1,234,567')
    """
    size = abs(number)
    if size >= 100:
        return f"{number:,.0f}"
    if size >= 10:
        return f"{number:.1f}"
    return f"{number:.2f}" if size >= 1 else f"{number:.3g}"


def as_json(machine: dict[str, Any], reports: Sequence[Report]) -> dict[str, Any]:
    """Everything that was measured, as plain values."""
    return {
        "machine": machine,
        "reports": [
            asdict(report) | {"goals": [asdict(goal) | {"met": goal.met} for goal in report.goals]}
            for report in reports
        ],
    }
