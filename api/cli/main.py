"""`bpm`: runs the engine, and does by hand what belongs to an installation."""

import sys
from datetime import UTC, datetime
from typing import Annotated

import typer

from api.cli import context
from api.cli.accounts import devices, service_accounts
from api.cli.backups import backup, restore
from api.cli.context import Exit, Kafka, console, examples
from api.cli.dead_letters import commands as dead_letter_commands
from api.cli.doctor import doctor
from api.cli.lost_readings import commands as lost_reading_commands
from api.cli.moves import move
from api.cli.operators import commands as operator_commands
from api.cli.replay import replay
from api.cli.retention_classes import commands as retention_class_commands
from api.cli.security import security_events
from api.cli.simulate import simulate
from api.cli.status import status
from api.cli.stopping import StopAsked, heeding
from api.cli.tail import tail_commands
from api.cli.tenants import commands as tenant_commands
from api.cli.users import key_commands, user_commands
from domain.errors import SettingsRefusedError
from domain.tenancy import STANDARD_RETENTION, TENANT_NAME, Role

app = typer.Typer(
    name="bpm",
    help="Battery pack telemetry, counted exactly once.\n\nSettings come from the environment (BPM_…). "
    "Exit codes: 0 done, 1 failed, 2 usage, 3 refused.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
RUN, LOOK, KEEP, FEED = "Run", "Look", "Keep", "Feed"
"""The groups of commands in the help."""

clock_commands = typer.Typer(help="The clock by which readings are judged.", no_args_is_help=True)
pack_commands = typer.Typer(help="Packs across tenants.", no_args_is_help=True)


@app.command(rich_help_panel=RUN, epilog=examples("bpm up", "BPM_ENV=development bpm up --demo"))
def up(
    demo: Annotated[
        bool,
        typer.Option(
            "--demo",
            help="With a simulated fleet of 200 packs: two weeks of the past, then live. Development only.",
        ),
    ] = False,
    kafka: Kafka = None,
) -> None:
    """Start everything in the foreground: the embedded PostgreSQL (unless BPM_DATABASE_URL is set) and the API.

    With Kafka, readings go through its topic, which is made when it is missing; start `bpm worker` beside it.
    """
    settings = context.read_settings(kafka=kafka)
    context.compile_kernels()
    from api.cli.server import serve as serve_engine

    raise typer.Exit(serve_engine(settings, demo=demo, make_topics=True))


@app.command(rich_help_panel=RUN, epilog=examples("BPM_DATABASE_URL=postgresql://… bpm serve"))
def serve(kafka: Kafka = None) -> None:
    """Start the API alone, on the PostgreSQL of BPM_DATABASE_URL."""
    settings = context.read_settings(kafka=kafka)
    if settings.database_url is None:
        raise SettingsRefusedError("set BPM_DATABASE_URL, or use `bpm up`", field="BPM_DATABASE_URL")
    context.compile_kernels()
    from api.cli.server import serve as serve_engine

    raise typer.Exit(serve_engine(settings))


@app.command(rich_help_panel=RUN, epilog=examples("bpm worker --kafka localhost:9092"))
def worker(kafka: Kafka = None) -> None:
    """Commit what comes in through Kafka's topic: the partitions are shared out among all workers.

    Works on the database of BPM_DATABASE_URL, or on that of a running `bpm up`. Ends with 1 when it must not go on,
    after which it is to be started again.
    """

    def begin(stop: StopAsked) -> int:
        # It takes seconds to import, in which a stop may be asked for.
        from api.cli.worker import work

        return work(context.read_settings(kafka=kafka), stop)

    raise typer.Exit(heeding(begin))


@app.command(rich_help_panel=RUN, epilog=examples("bpm migrate", "bpm migrate --kafka localhost:9092"))
def migrate(
    kafka: Kafka = None,
    adopt_new_topic: Annotated[
        bool,
        typer.Option(
            "--adopt-new-topic",
            help="Take readings from a topic that was made anew. What was in a lost one and not committed is gone.",
        ),
    ] = False,
) -> None:
    """Bring the database up to date, and with Kafka its topics.

    Topics that are missing are created. Those that are there are only compared with what they should be: each
    difference is a line, and the exit code is 1, or 3 when readings can't be taken in so.
    """
    settings = context.read_settings(kafka=kafka)
    with context.database(settings) as access:
        console.print("The database is up to date.")
        if settings.kafka is not None:
            from api.cli.topics import migrate_topics

            raise typer.Exit(migrate_topics(settings, access, anew=adopt_new_topic))


@tenant_commands.command(
    "create",
    epilog=examples(
        "bpm tenant create demo",
        "bpm tenant create demo --register-unknown-packs --json",
        "bpm tenant create demo --retention-class law",
    ),
)
def tenant_create(
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits, - and _; up to 63.")],
    register_unknown_packs: Annotated[
        bool,
        typer.Option(
            "--register-unknown-packs", help="Let packs register themselves by their first reading."
        ),
    ] = False,
    retention_class: Annotated[
        str, typer.Option(metavar="CLASS", help="By which readings are kept; see bpm retention-class.")
    ] = STANDARD_RETENTION,
    json_output: Annotated[bool, typer.Option("--json", help="what was done, as one JSON object")] = False,
) -> None:
    """Create a tenant. One that exists already is left as it is."""
    from storage.database import INGEST_ROLE
    from storage.tenants import create

    if TENANT_NAME.fullmatch(name) is None:
        # Before a database is made for it.
        raise typer.BadParameter(
            "A tenant's name has lower-case letters, digits, - and _, up to 63, and begins with a letter or digit.",
            param_hint="name",
        )
    settings = context.read_settings()
    with context.database(settings) as access:
        conninfo = access.as_role(INGEST_ROLE, settings)
        new = create(
            conninfo,
            name,
            register_unknown_packs=register_unknown_packs,
            retention_class=retention_class,
        )
    if json_output:
        context.print_json({"tenant": name, "created": new})
        return
    console.print(f"Tenant {name} is {'created' if new else 'there already; nothing was changed'}.")


tenant_commands.command(
    "move",
    epilog=examples(
        "bpm tenant move acme --to north",
        "bpm tenant move acme --cancel",
        "bpm tenant move acme --to north --json",
    ),
)(move)


@app.command(
    rich_help_panel=KEEP,
    epilog=examples(
        "bpm token --tenant demo --role tenant_admin",
        'curl -H "Authorization: Bearer $(bpm token --tenant demo --role analyst)" localhost:8000/v1/packs',
        "bpm token --platform",
    ),
)
def token(
    tenant: Annotated[str | None, typer.Option(help="The tenant's name.")] = None,
    role: Annotated[Role | None, typer.Option(help="What the token is for.")] = None,
    platform: Annotated[
        bool,
        typer.Option(
            "--platform", help="Of an operator of the installation, instead of a tenant and a role."
        ),
    ] = False,
    site: Annotated[list[str] | None, typer.Option(help="Limit it to a site; may be repeated.")] = None,
    region: Annotated[
        list[str] | None, typer.Option(help="Limit it to the sites of a region; may be repeated.")
    ] = None,
    pack: Annotated[
        str | None, typer.Option(help="For role device: the pack whose own device this is.")
    ] = None,
) -> None:
    """Print a development token, valid for 12 hours, alone on standard output.

    A tenant that doesn't exist is refused where the database can be asked.
    """
    if platform:
        if any(one is not None for one in (tenant, role, site, region, pack)):
            raise typer.BadParameter("It is of no tenant: say --platform alone.", param_hint="--platform")
        print(context.development_platform_token())  # noqa: T201 - the result
        return
    if tenant is None or role is None:
        raise typer.BadParameter("Say --tenant and --role, or --platform.", param_hint="--tenant")
    made = context.development_token(tenant, role, sites=site, regions=region, pack=pack)
    context.require_tenant(tenant)
    print(made)  # noqa: T201 - the result


@pack_commands.command(
    "hand-over", epilog=examples("bpm pack hand-over P-1 --tenant a --to b --from 2026-02-01T00:00:00Z")
)
def pack_hand_over(
    pack: Annotated[str, typer.Argument(help="The giver's external id of the pack.")],
    tenant: Annotated[str, typer.Option(help="Who gives.")],
    to: Annotated[str, typer.Option(help="Who takes.")],
    taken_as: Annotated[
        str | None, typer.Option("--as", help="The taker's external id; the same by default.")
    ] = None,
    starts: Annotated[
        str | None,
        typer.Option("--from", help="RFC 3339 time from which the taker holds it; now by default."),
    ] = None,
) -> None:
    """Let another tenant hold a pack from a time on. Each sees the readings of its own time only."""
    from storage.database import INGEST_ROLE
    from storage.registry import hand_over

    moment = datetime.now(UTC) if starts is None else context.moment(starts, "--from")
    settings = context.read_settings()
    with context.database(settings) as access:
        hand_over(access.as_role(INGEST_ROLE, settings), pack, tenant, to, taken_as or pack, moment)
    console.print(f"{to} holds {taken_as or pack} from {moment.isoformat()} on.")


@clock_commands.command("confirm", epilog=examples("bpm clock confirm"))
def clock_confirm() -> None:
    """Tell a running engine that the clock is right, after it jumped; live readings are accepted again."""
    from storage.database import INGEST_ROLE
    from storage.registry import confirm_clock

    settings = context.read_settings()
    with context.database(settings) as access:
        confirm_clock(access.as_role(INGEST_ROLE, settings))
    console.print("Confirmed. A running engine takes it up within some seconds.")


app.command(
    rich_help_panel=LOOK, epilog=examples("bpm status", "bpm status --json | jq .database.readings_per_s")
)(status)
app.add_typer(tail_commands, name="tail", rich_help_panel=LOOK)
app.command(
    rich_help_panel=LOOK,
    epilog=examples("bpm doctor", "bpm doctor --json | jq '.findings[] | select(.state != \"ok\")'"),
)(doctor)
app.command(
    rich_help_panel=LOOK,
    epilog=examples(
        "bpm security-events --last 200",
        "bpm security-events --kind bad_credential --since 2026-02-01T00:00:00Z --json",
    ),
)(security_events)
app.add_typer(dead_letter_commands, name="dead-letters", rich_help_panel=KEEP)
app.add_typer(lost_reading_commands, name="lost-readings", rich_help_panel=KEEP)
app.command(
    rich_help_panel=KEEP, epilog=examples("bpm backup backups/monday", "bpm backup backups/monday --json")
)(backup)
app.command(rich_help_panel=KEEP, epilog=examples("bpm restore backups/monday --to var-restored"))(restore)
app.add_typer(tenant_commands, name="tenant", rich_help_panel=KEEP)
app.add_typer(retention_class_commands, name="retention-class", rich_help_panel=KEEP)
app.add_typer(service_accounts, name="service-account", rich_help_panel=KEEP)
app.add_typer(devices, name="device", rich_help_panel=KEEP)
app.add_typer(user_commands, name="user", rich_help_panel=KEEP)
app.add_typer(operator_commands, name="operator", rich_help_panel=KEEP)
app.add_typer(key_commands, name="key", rich_help_panel=KEEP)
app.add_typer(pack_commands, name="pack", rich_help_panel=KEEP)
app.add_typer(clock_commands, name="clock", rich_help_panel=KEEP)
app.command(
    rich_help_panel=FEED,
    epilog=examples(
        "bpm replay bus.blf --dbc pack.dbc --map pack.yaml --tenant demo --pack P-1",
        "bpm replay --series table.csv --map table.yaml --tenant demo --pack P-1",
    ),
)(replay)
app.command(
    rich_help_panel=FEED,
    epilog=examples(
        "bpm simulate --tenant demo --packs 200 --days 14 --rules",
        "bpm simulate --output fleet.csv --packs 50 --days 7 --faults 0.1",
        "bpm simulate --output drive.blf --every 0.1 --days 0.05",
    ),
)(simulate)


def main() -> None:
    """Entry point: domain errors become a sentence and exit code 3, other refusals 1 and 2."""
    try:
        app(standalone_mode=True)
    except KeyboardInterrupt:
        sys.exit(Exit.FAILED)
    except Exception as error:  # noqa: BLE001 - `exit_with` raises again what it doesn't know
        sys.exit(context.exit_with(error))
