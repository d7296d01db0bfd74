"""What the test command adds to pytest: the seconds of each area, and a rule against silent skips."""

from collections import defaultdict
from pathlib import PurePosixPath
from typing import Any

import pytest

ALLOWED_SKIPS = pytest.StashKey[frozenset[str]]()


def area_of(nodeid: str) -> str:
    """The first folder below tests, or `tests` for a file that stands in none."""
    folders = PurePosixPath(nodeid.partition("::")[0]).parts[:-1]
    return folders[1] if len(folders) > 1 else "tests"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--no-skips-but",
        action="append",
        metavar="MARKER",
        help="a test that skips fails, unless it carries this marker (may be given more than once)",
    )


def pytest_configure(config: pytest.Config) -> None:
    allowed = config.getoption("--no-skips-but")
    if allowed is None:
        return
    known = {line.partition(":")[0].partition("(")[0].strip() for line in config.getini("markers")}
    if unknown := sorted(set(allowed) - known):
        raise pytest.UsageError(f"--no-skips-but: no such marker: {', '.join(unknown)}")
    config.stash[ALLOWED_SKIPS] = frozenset(allowed)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    report = yield
    allowed = item.config.stash.get(ALLOWED_SKIPS, None)
    expected_failure = hasattr(report, "wasxfail")
    if allowed is not None and report.skipped and not expected_failure:
        _fail_unless_marked(report, item, allowed)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Any:
    """A whole module that skips itself never reaches its tests, so it is held to the rule here."""
    report = yield
    allowed = collector.config.stash.get(ALLOWED_SKIPS, None)
    if allowed is not None and report.skipped:
        _fail_unless_marked(report, collector, allowed)
    return report


def _fail_unless_marked(
    report: pytest.TestReport | pytest.CollectReport,
    node: pytest.Item | pytest.Collector,
    allowed: frozenset[str],
) -> None:
    if any(node.get_closest_marker(marker) is not None for marker in allowed):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    report.outcome = "failed"
    report.longrepr = f"{node.nodeid} may not skip in this run. {reason}"


def pytest_terminal_summary(terminalreporter: Any) -> None:
    seconds_by_area: dict[str, float] = defaultdict(float)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                seconds_by_area[area_of(report.nodeid)] += report.duration
    if not seconds_by_area:
        return
    terminalreporter.section("seconds of each area")
    for area, seconds in sorted(seconds_by_area.items(), key=lambda pair: -pair[1]):
        terminalreporter.write_line(f"{seconds:8.2f}  {area}")
