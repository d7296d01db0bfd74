"""`bpm tail`: alerts and readings as they come, a line each."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Final

import httpx
import typer
from rich.console import Console
from rich.text import Text

from api.cli import context
from api.cli.context import Exit, examples
from api.cli.sender import engine_client
from api.client import alerts as live_alerts
from api.client import latest
from api.client.sending import NotSentError
from domain.alert_rules import Severity
from domain.clock import from_ms
from domain.measures import MEASURES
from domain.tenancy import Role

tail_commands = typer.Typer(help="Alerts or readings as they come, in the terminal.", no_args_is_help=True)

_STYLE: Final = {Severity.CRITICAL: "bold red", Severity.WARNING: "yellow", Severity.INFO: "cyan"}
_RATE_HZ: Final = 2.0

Tenant = Annotated[str | None, typer.Option(help="whose; needed without --token")]
Packs = Annotated[list[str] | None, typer.Option("--pack", help="only this pack; may be repeated")]
Token = Annotated[str | None, typer.Option(envvar="BPM_TOKEN", help="access token")]
Url = Annotated[str | None, typer.Option(help="the engine; this machine's when not given")]
Json = Annotated[bool, typer.Option("--json", help="a JSON object a line")]


@tail_commands.command(
    "alerts",
    epilog=examples(
        "bpm tail alerts --tenant demo", "bpm tail alerts --tenant demo --severity critical --json"
    ),
)
def tail_alerts(
    *,
    tenant: Tenant = None,
    site: Annotated[list[str] | None, typer.Option(help="only of this site; may be repeated")] = None,
    severity: Annotated[list[Severity] | None, typer.Option(help="only these; may be repeated")] = None,
    pack: Packs = None,
    token: Token = None,
    url: Url = None,
    json_output: Json = False,
) -> None:
    """Follow alerts: those that are open, then each event as it happens, until Ctrl-C.

    It goes on where it was when the connection breaks or the engine starts again: each event comes once.
    """
    console = Console(highlight=False, soft_wrap=True)
    with _until_interrupted(), engine_client(url, token or _minted(tenant)) as client:
        _say_what_is_missing(client, pack or ())
        frames = live_alerts.follow(client, sites=site or (), severities=severity or (), packs=pack or ())
        for frame in frames:
            for told in _events(frame.kind, frame.data):
                if json_output:
                    context.print_json(told)
                else:
                    console.print(_alert_line(told))


@tail_commands.command(
    "readings",
    epilog=examples(
        "bpm tail readings --tenant demo", "bpm tail readings --tenant demo --pack P-1 --measure voltage_v"
    ),
)
def tail_readings(
    *,
    tenant: Tenant = None,
    site: Annotated[str | None, typer.Option(help="only of this site")] = None,
    pack: Packs = None,
    measure: Annotated[list[str] | None, typer.Option(help="only this measure; may be repeated")] = None,
    token: Token = None,
    url: Url = None,
    json_output: Json = False,
) -> None:
    """Follow packs: where each stands, then a line whenever a newer reading has come, until Ctrl-C.

    Of readings that come faster than twice a second, the newest is shown.
    """
    known = [one.name for one in MEASURES]
    for name in measure or ():
        if name not in known:
            raise typer.BadParameter(
                f"There is no {name}; there are {', '.join(known)}.", param_hint="--measure"
            )
    if site is not None and pack:
        raise typer.BadParameter("Give either packs or a site.", param_hint="--site")
    console = Console(highlight=False, soft_wrap=True)
    newest: dict[tuple[str, str], int] = {}
    group = "all" if site is None else f"site:{site}"
    with _until_interrupted(), engine_client(url, token or _minted(tenant)) as client:
        _say_what_is_missing(client, pack or ())
        frames = latest.follow(
            client, packs=pack or (), group=group, measures=measure or (), rate_hz=_RATE_HZ
        )
        for frame in frames:
            for told in _changes(frame.data.get("columns", {}), newest):
                if json_output:
                    context.print_json(told)
                else:
                    console.print(_reading_line(told))


def _say_what_is_missing(client: httpx.Client, packs: Sequence[str]) -> None:
    """Tell people why nothing will come yet; it is followed all the same."""
    try:
        for pack in packs:
            answer = client.get("/v1/packs", params={"pack": pack})
            if answer.is_success and not answer.json()["items"]:
                context.console.print(f"There is no pack {pack} yet.", markup=False)
        if not packs:
            client.get("/readyz")
    except httpx.TransportError as error:
        context.console.print(
            f"Nobody answers at {client.base_url} ({error}); it is tried again.", markup=False
        )


def _minted(tenant: str | None) -> str:
    if tenant is None:
        raise typer.BadParameter("Say whose, or give a --token.", param_hint="--tenant")
    return context.development_token(tenant, Role.ANALYST)


@contextmanager
def _until_interrupted() -> Iterator[None]:
    """Ctrl-C is how it ends, or a reader that has enough, such as `head`; what ends it otherwise is told."""
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(Exit.DONE) from None
    except BrokenPipeError:
        # Nothing more can be written, also not what Python would flush at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(Exit.DONE) from None
    except NotSentError as error:
        context.console.print(Text(str(error), "bold red"))
        raise typer.Exit(Exit.FAILED) from error


def _events(kind: str, data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The events of a frame; an open alert of a snapshot is told as an event of the kind `open`."""
    if kind == "snapshot":
        for alert in data["alerts"]:
            yield {"event": {"kind": "open", "at": alert["raised_at"]}, "alert": alert}
    elif kind == "alert":
        yield data


def _alert_line(told: dict[str, Any]) -> Text:
    event, alert = told["event"], told["alert"]
    severity = alert["severity"]
    line = Text.assemble(
        f"{event['at'][:19]}  ", (f"{severity:<8} ", _STYLE[severity]), f"{event['kind']:<12} "
    )
    about = alert["pack"] or alert["source"] or ""
    line.append(f"{about}  {alert['rule']}")
    if alert["value"] is not None:
        line.append(f"  {alert['value']:g} {alert['unit'] or ''}".rstrip())
    if alert["site"] is not None:
        line.append(f"  at {alert['site']}", "dim")
    if event.get("subject"):
        line.append(f"  by {event['subject']}", "dim")
    if event.get("comment"):
        line.append(f"  “{event['comment']}”")
    return line


def _changes(columns: dict[str, list[Any]], newest: dict[tuple[str, str], int]) -> Iterator[dict[str, Any]]:
    """Per pack what is newer than what was told before, noted in `newest` by pack and measure."""
    for row, pack in enumerate(columns.get("pack", [])):
        values: dict[str, float] = {}
        latest_ms = 0
        for measure in MEASURES:
            at = columns.get(f"{measure.name}_ts", [None] * (row + 1))[row]
            if at is None or at <= newest.get((pack, measure.name), -1):
                continue
            newest[pack, measure.name] = at
            values[measure.name] = columns[measure.name][row]
            latest_ms = max(latest_ms, at)
        if values:
            yield {"pack": pack, "ts": latest_ms, "values": values}


def _reading_line(told: dict[str, Any]) -> Text:
    units = {measure.name: measure.unit for measure in MEASURES}
    line = Text(f"{from_ms(told['ts']):%H:%M:%S.%f}"[:12] + "  ", "dim")
    line.append(f"{told['pack']:<12} ", "bold")
    shown = (f"{name} {value:g} {units[name]}" for name, value in told["values"].items())
    line.append("  ".join(shown))
    return line
