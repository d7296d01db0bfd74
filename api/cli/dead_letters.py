"""`bpm dead-letters`: messages of Kafka's topics that could not be taken in, looked through and sent again."""

from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from api.cli import context
from api.cli.context import Exit, Kafka, console, examples
from domain.clock import from_ms

if TYPE_CHECKING:
    from streams.sending_again import DeadLetterBox, Found

commands = typer.Typer()

_SHOWN_MAX: Final = 100
"""Letters in the table; `--json` has all."""
_KEY_WIDTH: Final = 40

Reason = Annotated[str | None, typer.Option(metavar="CODE", help="Only those put aside for this reason.")]
Tenant = Annotated[str | None, typer.Option(help="Only those whose header names this tenant.")]
Source = Annotated[
    str | None,
    typer.Option(
        metavar="TOPIC[:PARTITION[:POSITION]]", help="Only those that came from this topic or place."
    ),
]


@commands.callback(
    invoke_without_command=True,
    epilog=examples(
        "bpm dead-letters",
        "bpm dead-letters --reason message_misdirected --tenant acme",
        "bpm dead-letters --json | jq -r .reason | sort | uniq -c",
        "bpm dead-letters send-again --tenant acme --dry-run",
    ),
)
def list_(
    ctx: typer.Context,
    *,
    reason: Reason = None,
    tenant: Tenant = None,
    source: Source = None,
    every: Annotated[bool, typer.Option("--all", help="Also those that were sent again.")] = False,
    json_output: Annotated[bool, typer.Option("--json", help="A JSON object a line.")] = False,
    kafka: Kafka = None,
) -> None:
    """List dead letters that weren't sent again: when, where they stood, why, whose, their key and size.

    A table shows the newest 100 and counts all; --json has all, in the order in which they were put aside.
    """
    if ctx.invoked_subcommand is not None:
        if reason or tenant or source or every or json_output or kafka:
            raise typer.BadParameter(f"Give options behind {ctx.invoked_subcommand}.")
        return
    from streams.sending_again import Wanted

    newest: deque[Found] = deque(maxlen=_SHOWN_MAX)
    reasons = Counter[str]()
    with _opened(kafka) as (box, told):
        for one in box.found(Wanted(reason, tenant, source), told):
            if one.sent_again_ms is not None and not every:
                continue
            reasons[one.letter.reason] += 1
            if json_output:
                context.print_json(_as_json(one))
            else:
                newest.append(one)
    if not json_output:
        _show(newest, reasons, every=every)


@commands.command(
    "send-again",
    epilog=examples(
        "bpm dead-letters send-again --reason message_misdirected --tenant acme --dry-run",
        "bpm dead-letters send-again --source bpm.readings.single.v1:3:1207",
    ),
)
def send_again(
    *,
    reason: Reason = None,
    tenant: Tenant = None,
    source: Source = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Send nothing; say what would be sent.")] = False,
    json_output: Annotated[bool, typer.Option("--json", help="What was done, as one JSON object.")] = False,
    kafka: Kafka = None,
) -> None:
    """Send dead letters again into the topics that they came from, once what was wrong is mended.

    Each is sent once, whatever is run again; what was being sent when the command was ended may be sent twice, which
    stores no reading twice. What isn't mended becomes a dead letter again. Exit code 3 when some of those that are
    meant can't be sent.
    """
    from api.failpoints import failpoint
    from streams.sending_again import Wanted

    reached = failpoint(context.read_settings(kafka=kafka))
    with _opened(kafka) as (box, told):
        done = box.send_again(Wanted(reason, tenant, source), told, reached, dry_run=dry_run)
    if json_output:
        context.print_json({"sent": done.sent, "left": dict(done.left), "dry_run": dry_run})
    else:
        console.print(f"{'Would be sent' if dry_run else 'Sent'} again: {done.sent:,}.")
        for why, count in done.left.most_common():
            console.print(f"Not sent: {count:,}, {why}.", markup=False)
    raise typer.Exit(Exit.REFUSED if done.left else Exit.DONE)


@contextmanager
def _opened(kafka: str | None) -> "Iterator[tuple[DeadLetterBox, Callable[[], None]]]":
    """The dead letters, and what moves the bar on standard error; there is none where nobody watches."""
    from api.topic import bootstrap_of
    from streams.sending_again import dead_letter_box

    settings = context.read_settings(kafka=kafka)
    with dead_letter_box(bootstrap_of(settings), settings.kafka_prefix) as box:
        columns = BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
            task = progress.add_task("read", total=2 * box.messages)
            yield box, lambda: progress.advance(task)


def _as_json(one: "Found") -> dict[str, Any]:
    letter, original = one.letter, one.letter.original
    return {
        "at": from_ms(letter.put_aside_ms),
        "source": original.source,
        "reason": letter.reason,
        "tenant": _tenant(one),
        "key": None if original.key is None else _shown(original.key),
        "value_bytes": None if original.value is None else len(original.value),
        "cut": letter.cut,
        "sent_again_at": None if one.sent_again_ms is None else from_ms(one.sent_again_ms),
    }


def _show(newest: "deque[Found]", reasons: Counter[str], *, every: bool) -> None:
    table = Table(box=None, pad_edge=False)
    for name in ("at", "from", "reason", "tenant", "key", "bytes", *(["sent again"] if every else [])):
        # Keys may be long; what is to be copied into an option stays whole.
        table.add_column(name, max_width=_KEY_WIDTH if name == "key" else None, overflow="fold")
    for one in newest:
        told = _as_json(one)
        again = told["sent_again_at"]
        cells = [
            f"{told['at']:%Y-%m-%d %H:%M:%S}",
            told["source"],
            told["reason"],
            told["tenant"] or "",
            told["key"] or "",
            "none" if told["value_bytes"] is None else f"{told['value_bytes']:,}",
            *([f"{again:%Y-%m-%d %H:%M:%S}" if again else ""] if every else []),
        ]
        table.add_row(*(Text(_shown(cell.encode())) for cell in cells))
    if newest:
        context.print_table(table)
    count = sum(reasons.values())
    if count > len(newest):
        console.print(f"These are the newest {len(newest)}; --json has all.")
    by_reason = ", ".join(f"{reason} {number:,}" for reason, number in reasons.most_common())
    console.print(f"Dead letters: {count:,}{f' ({by_reason})' if by_reason else ''}.", markup=False)


def _tenant(one: "Found") -> str | None:
    from streams.topics import Header

    name = one.letter.original.text_of(Header.TENANT)
    return None if name is None else _shown(name.encode())


def _shown(text: bytes) -> str:
    r"""Bytes that others chose, without what a terminal would obey.

    >>> _shown(b"P-1 \x1b[2J \xff")
    'P-1 \\x1b[2J \\xff'
    """
    decoded = text.decode(errors="backslashreplace")
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in decoded)
