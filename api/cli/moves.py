"""`bpm tenant move`: to another cell, or back to staying here."""

from typing import Annotated, Any

import typer

from api.cli import context
from api.cli.context import console


def move(
    name: Annotated[str, typer.Argument(help="The tenant.")],
    to: Annotated[
        str | None, typer.Option(metavar="CELL", help="The cell, as the file of BPM_CELLS_FILE names it.")
    ] = None,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="Let a tenant stay whose move was begun and not finished.")
    ] = False,
    wait_s: Annotated[
        float,
        typer.Option("--wait", min=1, help="Seconds that the workers may take to finish what was sent."),
    ] = 600.0,
    json_output: Annotated[bool, typer.Option("--json", help="what was done, as one JSON object")] = False,
) -> None:
    """Move a tenant with all that it has to another cell: its own Kafka cluster and database.

    Run it where this cell's API has its settings, with this cell's workers and API running, and with the other cell's
    topics made by `bpm migrate --kafka`. Meanwhile the tenant's reads are answered here and its writes by 503; then
    everything is answered by 421 here, with the other cell's address. Other tenants notice nothing.

    It may be run again after whatever ended it: it goes on where the tenant is. Until it says that the tenant has
    arrived, `--cancel` takes it back. What the tenant has stays in this cell's database too, and is used no more.
    """
    from api.moving import Steps, TenantMove

    if (to is None) is not cancel:
        raise typer.BadParameter("Say --to CELL, or --cancel.", param_hint="--to")
    settings = context.read_settings()
    with context.database(settings) as access:
        command = TenantMove(settings, access, name, Steps(_told, wait_s))
        done = command.cancel() if to is None else command.run(to)
    if json_output:
        context.print_json(done)
    else:
        console.print(_said(done), markup=False)


def _told(step: str, what: str, count: int) -> None:
    if step == "waiting":
        console.print(f"waiting {what}" + (f", {count} s" if count else ""), markup=False)
    elif step in ("copied", "compared"):
        console.print(
            f"{step:>9} {count:>15,} {'bytes' if step == 'copied' else 'rows':5} {what}", markup=False
        )
    else:
        console.print(f"{step}: {what}", markup=False)


def _said(done: dict[str, Any]) -> str:
    if "cell" not in done:
        return f"{done['tenant']} stays here." if done["changed"] else f"{done['tenant']} was not leaving."
    if done["was_there"]:
        return f"{done['tenant']} has arrived on {done['cell']} before."
    rows = sum(done["rows"].values())
    return f"{done['tenant']} is on {done['cell']}, with {rows:,} rows, after {done['seconds']:g} s."
