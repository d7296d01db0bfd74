"""`bpm doctor`: what is wrong with an installation, and what to do."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from api.cli import context
from api.cli.context import Exit
from domain.errors import SettingsRefusedError

if TYPE_CHECKING:
    from api.cli.checks import Finding

_STYLE: Final = {"ok": "green", "warning": "yellow", "failure": "bold red"}
"""By the state of a finding."""


def doctor(
    *, json_output: Annotated[bool, typer.Option("--json", help="the findings as one JSON object")] = False
) -> None:
    """Look for what is wrong, and say what to do: port, data directory, disk, clock, database, keys.

    It changes nothing, and works whether the engine runs or not. The exit code is 1 when something fails;
    warnings alone leave it 0.
    """
    from api.cli.checks import Finding, State, examine

    try:
        findings = examine(context.read_settings())
    except SettingsRefusedError as error:
        findings = [Finding("settings", State.FAILURE, error.detail, "see docs/reference/settings.md")]
    failed = any(finding.state is State.FAILURE for finding in findings)
    if json_output:
        context.print_json({"ok": not failed, "findings": [asdict(finding) for finding in findings]})
    else:
        Console(highlight=False).print(_table(findings))
    raise typer.Exit(Exit.FAILED if failed else Exit.DONE)


def _table(findings: "list[Finding]") -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        said = Text(finding.found)
        if finding.remedy is not None:
            said.append(f"\n→ {finding.remedy}", "bold")
        table.add_row(Text(finding.state, _STYLE[finding.state]), finding.check, said)
    return table
