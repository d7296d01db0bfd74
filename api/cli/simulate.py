"""`bpm simulate`: a fleet of packs that don't exist, sent to an engine or written to a file."""

import json
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import httpx
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from api.cli import context
from api.cli.sender import engine_client, errors_of_ours
from api.client import sending
from domain.clock import from_ms, to_ms
from domain.tenancy import Role

if TYPE_CHECKING:
    import pyarrow as pa

    from ingest.simulation.fleet import Fleet, FleetReadings, SimulatedPack

DAY_MS: Final = 86_400_000
PACKS_MAX: Final = 1_000_000
BODY_READINGS: Final = 50_000
ALARM_AFTER_MS: Final = 5_000
FILE_START: Final = "2026-01-01T00:00:00Z"

RULES: Final = {
    "pack is hot": (
        "critical",
        {
            "kind": "threshold",
            "measure": "temperature_c",
            "side": "above",
            "limit": 55,
            "clear_limit": 50,
        },
    ),
    "cells have drifted apart": (
        "warning",
        {"kind": "cell_imbalance", "limit_v": 0.12, "clear_limit_v": 0.08, "duration_s": 600},
    ),
    "capacity is below 80 %": (
        "warning",
        {
            "kind": "threshold",
            "measure": "state_of_health_pct",
            "side": "below",
            "limit": 80,
            "clear_limit": 82,
        },
    ),
}
"""Severity and condition of the rules of a simulated fleet, by name."""


_TO_AN_ENGINE: Final = ("live", "live_s", "live_every", "rules", "alarm", "tenant", "url")
_TO_A_FILE: Final = ("pack", "start")


def simulate(
    invoked: typer.Context,
    *,
    packs: Annotated[
        int, typer.Option(help="how many; kinds and sites take turns", min=1, max=PACKS_MAX)
    ] = 20,
    seed: Annotated[
        int, typer.Option(help="the same seed and times give the same packs and readings", min=0)
    ] = 1,
    every: Annotated[
        float, typer.Option(help="seconds between two readings of a pack", min=0.001, max=86_400)
    ] = 60,
    days: Annotated[
        float | None,
        typer.Option(help="of the past, sent as an import; or how many go into a file", min=0, max=3_660),
    ] = None,
    faults: Annotated[
        float, typer.Option(help="share of the packs with which something goes wrong", min=0, max=1)
    ] = 0,
    output: Annotated[
        Path | None,
        typer.Option(
            help="a file instead of the engine: .csv or .arrow of all packs, .log, .asc or .blf of one on a CAN bus",
            dir_okay=False,
        ),
    ] = None,
    pack: Annotated[str | None, typer.Option(help="whose CAN log it is; the first when not given")] = None,
    start: Annotated[
        str | None, typer.Option(help=f"of a file (RFC 3339); {FILE_START} when not given")
    ] = None,
    live: Annotated[bool, typer.Option(help="go on as live readings, until Ctrl-C or --live-s")] = True,
    live_s: Annotated[float | None, typer.Option(help="seconds of live readings", min=0)] = None,
    live_every: Annotated[
        float, typer.Option(help="seconds between two live readings of a pack", min=0.05, max=86_400)
    ] = 10,
    rules: Annotated[bool, typer.Option("--rules", help="make alert rules for the fleet")] = False,
    alarm: Annotated[
        bool, typer.Option("--alarm", help="let a pack overheat as soon as readings are live")
    ] = False,
    tenant: Annotated[str | None, typer.Option(help="whose packs they are; needed without --token")] = None,
    token: Annotated[str | None, typer.Option(envvar="BPM_TOKEN", help="access token")] = None,
    url: Annotated[str | None, typer.Option(help="the engine; this machine's when not given")] = None,
    json_output: Annotated[bool, typer.Option("--json", help="a line for machines after each stage")] = False,
) -> None:
    """Let packs of several chemistries drive, charge, age and fail, and report it."""
    _refuse_without_effect(invoked, _TO_A_FILE if output is None else _TO_AN_ENGINE)
    step_ms = max(1, round(every * 1000))
    began_s = time.monotonic()
    if output is not None:
        span_ms = round((1 if days is None else days) * DAY_MS)
        _check_file(output, pack, span_ms, step_ms)
        found = _to_file(
            output,
            packs,
            seed,
            faults,
            to_ms(context.moment(start or FILE_START, "--start")),
            step_ms,
            span_ms,
            pack,
        )
    else:
        if token is None and tenant is None:
            raise typer.BadParameter("Say whose packs they are, or give a --token.", param_hint="--tenant")
        given = token or context.development_token(str(tenant), Role.TENANT_ADMIN)
        with engine_client(url, given) as client, errors_of_ours():
            now_ms = time.time_ns() // 1_000_000
            span_ms = round((days or 0) * DAY_MS)
            fleet = _fleet(packs, seed, faults, now_ms - span_ms, now_ms)
            found = _History(client, fleet).send(now_ms - span_ms, step_ms, span_ms, rules=rules)
            if json_output:
                _say({"stage": "history"} | found)
            if live:
                found["live_readings"] = _live(client, fleet, live_every, live_s, alarm=alarm)
    found["seconds"] = round(time.monotonic() - began_s, 3)
    _report(found, json_output=json_output)


def _refuse_without_effect(given: typer.Context, names: tuple[str, ...]) -> None:
    """Raises typer.BadParameter for an option that would be ignored."""
    for name in names:
        source = given.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            where = "a file" if names is _TO_A_FILE else "an engine"
            raise typer.BadParameter(f"It is for {where} only.", param_hint="--" + name.replace("_", "-"))


def _check_file(output: Path, pack: str | None, span_ms: int, step_ms: int) -> None:
    """Raises typer.BadParameter for a file that can't be written as it is asked for."""
    from ingest.simulation.files import LOGS, TABLES

    if output.suffix not in (*TABLES, *LOGS):
        known = ", ".join((*TABLES, *LOGS))
        raise typer.BadParameter(f"{output.name} ends in none of {known}.", param_hint="--output")
    if not output.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {output.parent}.", param_hint="--output")
    if pack is not None and output.suffix not in LOGS:
        raise typer.BadParameter("A table has all packs; it is for a CAN log.", param_hint="--pack")
    if span_ms < step_ms:
        raise typer.BadParameter("No reading falls into so short a time.", param_hint="--days")


def _fleet(packs: int, seed: int, faults: float, from_ms: int, until_ms: int) -> "Fleet":
    from ingest.simulation.fleet import Fleet, packs_of, seeded_faults

    return Fleet(packs_of(packs), seed, seeded_faults(packs, faults, seed, from_ms, until_ms))


def _to_file(
    output: Path,
    packs: int,
    seed: int,
    faults: float,
    from_ms: int,
    step_ms: int,
    span_ms: int,
    pack: str | None,
) -> dict[str, Any]:
    from ingest.simulation.files import LOGS, write_can_log, write_table

    fleet = _fleet(packs, seed, faults, from_ms, from_ms + span_ms)
    steps = span_ms // step_ms
    with _progress("simulate", steps) as advance:
        parts = _watched(fleet.run(from_ms, step_ms, steps), advance)
        if output.suffix not in LOGS:
            rows = write_table(output, _tables(parts, fleet.packs))
            return {"packs": packs, "readings": rows, "files": [str(output)]}
        count, dbc, map_file = write_can_log(output, parts, _place(fleet.packs, pack))
    return {"packs": 1, "readings": count, "files": [str(output), str(dbc), str(map_file)]}


def _place(packs: "tuple[SimulatedPack, ...]", name: str | None) -> int:
    names = [pack.name for pack in packs]
    if name is not None and name not in names:
        raise typer.BadParameter(f"There is no {name}; there is {names[0]}.", param_hint="--pack")
    return 0 if name is None else names.index(name)


def _watched(parts: "Iterable[FleetReadings]", advance: Any) -> "Iterator[FleetReadings]":
    for part in parts:
        advance()
        yield part


def _tables(parts: "Iterable[FleetReadings]", packs: "tuple[SimulatedPack, ...]") -> "Iterator[pa.Table]":
    """Tables of as many readings as make a good body."""
    from ingest.simulation.files import to_table

    waiting: list[FleetReadings] = []
    count = 0
    for part in parts:
        waiting.append(part)
        count += len(part)
        if count >= BODY_READINGS:
            yield to_table(waiting, packs)
            waiting, count = [], 0
    if waiting:
        yield to_table(waiting, packs)


class _History:
    """Registers a fleet with an engine, and sends its past as an import."""

    def __init__(self, client: httpx.Client, fleet: "Fleet") -> None:
        self._client = client
        self._fleet = fleet

    def send(self, from_ms: int, step_ms: int, span_ms: int, *, rules: bool) -> dict[str, Any]:
        """What was sent. Packs that are there already have their past."""
        new = self._register()
        if rules:
            for name, (severity, condition) in RULES.items():
                rule = {"name": name, "severity": severity, "condition": condition}
                self._make("/v1/rules", rule | {"scope": {"kind": "tenant"}})
        found: dict[str, Any] = {"packs": len(self._fleet.packs), "new_packs": new, "readings": 0}
        steps = span_ms // step_ms
        if steps and not new:
            Console(stderr=True).print("All packs are there already: their past isn't sent again.")
        if not steps or not new:
            return found
        about = {
            "source": "simulated history",
            "expected": self._fleet.readings_in(from_ms, step_ms, steps) or None,
        }
        answer = sending.post(self._client, "/v1/imports", json=about)
        import_id = str(sending.json_of(answer)["id"])
        with _progress("history", steps) as advance:
            parts = _watched(self._fleet.run(from_ms, step_ms, steps), advance)
            for table in _tables(parts, self._fleet.packs):
                sums = sending.send_table(self._client, table, import_id=import_id)
                found["readings"] += sums.counts["accepted"]
        return found

    def _register(self) -> int:
        """How many of the packs are new."""
        from ingest.simulation.catalogue import uses
        from ingest.simulation.fleet import SITES

        for site in SITES:
            self._make("/v1/sites", {"name": site.name, "region": site.region, "zone": site.zone})
        for kind in dict.fromkeys(pack.kind for pack in self._fleet.packs):
            capacity_ah = uses()[kind.use].model.rated_ah
            self._make(
                "/v1/models",
                {"name": kind.model, "chemistry": kind.chemistry, "rated_capacity_ah": capacity_ah},
            )
        rows = [f"{pack.name},{pack.kind.model},{pack.site.name}" for pack in self._fleet.packs]
        body = "\n".join(["pack,model,site", *rows]).encode()
        answer = sending.post(
            self._client, "/v1/packs/import", content=body, headers={"Content-Type": "text/csv"}
        )
        return int(sending.json_of(answer)["created"])

    def _make(self, path: str, record: dict[str, Any]) -> None:
        """Make a record, unless its name is taken: then it is there from before."""
        answer = self._client.post(path, json=record)
        if answer.status_code != HTTPStatus.CONFLICT and not answer.is_success:
            raise sending.RefusedError(path, answer)


def _live(client: httpx.Client, fleet: "Fleet", every_s: float, live_s: float | None, *, alarm: bool) -> int:
    """Send what the fleet reports now, again and again; how many readings went in. Ctrl-C ends it."""
    from ingest.simulation.faults import Fault, FaultKind
    from ingest.simulation.files import to_table

    began_s = time.monotonic()
    last_ms = time.time_ns() // 1_000_000
    if alarm:
        fleet.add_fault(Fault(0, FaultKind.OVERHEATING, last_ms + ALARM_AFTER_MS))
    console = Console(stderr=True)
    sent, number = 0, 0
    try:
        while live_s is None or number * every_s < live_s:
            number += 1
            time.sleep(max(0.0, began_s + number * every_s - time.monotonic()))
            now_ms = time.time_ns() // 1_000_000
            readings = fleet.step(now_ms, max(1, now_ms - last_ms))
            last_ms = now_ms
            sent += sending.send_table(client, to_table([readings], fleet.packs)).counts["accepted"]
            if number == 1:
                since = from_ms(now_ms).isoformat()
                console.print(f"Live since {since}: {len(readings)} packs every {every_s:g} s.")
    except KeyboardInterrupt:
        pass
    return sent


@contextmanager
def _progress(what: str, steps: int) -> Iterator[Any]:
    """A bar on standard error, none where nobody watches; what is given moves it on by a step."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=steps)
        yield lambda: progress.advance(task)


def _say(found: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


def _report(found: dict[str, Any], *, json_output: bool) -> None:
    readings = found["readings"] + found.get("live_readings", 0)
    found["readings_per_s"] = round(readings / found["seconds"]) if found["seconds"] else 0
    if json_output:
        _say({"stage": "end"} | found)
        return
    words = ", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in found.items())
    Console().print(words, soft_wrap=True)
