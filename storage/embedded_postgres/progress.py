"""Whether a starting server gets on: a long recovery is waited for, a stuck one is not."""

import re
from dataclasses import dataclass
from pathlib import Path

import psutil

_CPU_S_MIN = 0.03
"""Sleeping processes wake up now and then; three clock ticks are work."""

_RECOVERING = re.compile(r"postgres: (?:\S+: )?((startup|checkpointer|io worker|background writer).*)")
"""Those who work during a recovery. Clients that knock meanwhile are no progress."""


@dataclass(frozen=True, slots=True)
class Effort:
    """What a starting server has done so far."""

    cpu_s: float = 0.0
    io_bytes: int = 0
    log_bytes: int = 0
    titles: frozenset[str] = frozenset()

    def is_beyond(self, earlier: "Effort") -> bool:
        """True when there is work between the two.

        >>> Effort(io_bytes=8192).is_beyond(Effort()), Effort(cpu_s=0.01).is_beyond(Effort())
        (True, False)
        """
        return (
            abs(self.cpu_s - earlier.cpu_s) >= _CPU_S_MIN
            or self.io_bytes != earlier.io_bytes
            or self.log_bytes != earlier.log_bytes
            or self.titles != earlier.titles
        )

    @property
    def doing(self) -> str:
        """What the startup process says of itself, such as `startup recovering 00000001000000A3`."""
        return next((title for title in self.titles if title.startswith("startup")), "starting")


@dataclass(slots=True)
class StallWatch:
    """Knows since when nothing has moved."""

    stall_s_max: float
    _latest: Effort | None = None
    _moved_at_s: float = 0.0

    def has_stalled(self, effort: Effort, now_s: float) -> bool:
        """True once nothing has moved for longer than the limit."""
        if self._latest is None or effort.is_beyond(self._latest):
            self._latest = effort
            self._moved_at_s = now_s
        return now_s - self._moved_at_s > self.stall_s_max


def effort_of(server_pid: int, log: Path) -> Effort:
    """What the server has done so far; before it has children, what it has done itself."""
    cpu_s, io_bytes, titles = 0.0, 0, set()
    for process, title in _workers(server_pid):
        try:
            times = process.cpu_times()
            cpu_s += times.user + times.system
            titles.add(title)
            io_bytes += _io_bytes(process)
        except psutil.Error:
            continue
    return Effort(cpu_s, io_bytes, log.stat().st_size, frozenset(titles))


def _workers(server_pid: int) -> list[tuple[psutil.Process, str]]:
    try:
        server = psutil.Process(server_pid)
        children = server.children()
    except psutil.Error:
        return []
    if not children:
        return [(server, "server")]
    workers = []
    for child in children:
        try:
            matched = _RECOVERING.match(" ".join(child.cmdline()).strip())
        except psutil.Error:
            continue
        if matched is not None:
            workers.append((child, matched[1]))
    return workers


def _io_bytes(process: psutil.Process) -> int:
    """Bytes read and written; 0 where the system doesn't tell."""
    try:
        counters = process.io_counters()
    except (psutil.AccessDenied, AttributeError, NotImplementedError):
        return 0
    return int(counters.read_bytes + counters.write_bytes + counters.read_chars + counters.write_chars)
