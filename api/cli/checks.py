"""What `bpm doctor` looks at: each check gives findings, and none changes anything."""

import ctypes
import os
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from api.auth import DEVELOPMENT_KEY_FILE, make_verifier
from api.cli import context
from api.cli.engine_seen import Seen, look
from api.cli.ports import require_port
from api.cli.sender import engine_client
from api.cli.status import bytes_text
from api.settings import Environment, Settings
from domain.errors import BpmError, DatabaseRefusedError, KafkaUnreachableError, SettingsRefusedError

_YEAR_MIN: Final = 2026
_DAYS_LEFT_MIN: Final = 7.0
_ROOM_FACTOR: Final = 4
_DESCRIPTORS_MIN: Final = 256
_DESCRIPTORS_OF_OURS: Final = 100
_TIMEX_BYTES: Final = 512
_CLOCK_UNSYNCHRONISED: Final = 5
_ZONES: Final = ("Europe/Berlin", "America/Sao_Paulo", "Asia/Kolkata")


class State(StrEnum):
    """How a finding stands."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found. remedy: what to do, None when nothing is wrong."""

    check: str
    state: State
    found: str
    remedy: str | None = None


def examine(settings: Settings) -> list[Finding]:
    """All findings about an installation, whether its engine runs or not."""
    with engine_client(None, None) as client:
        seen = look(client)
    checks: tuple[tuple[str, Callable[[], Iterator[Finding]]], ...] = (
        ("port", lambda: check_port(settings, seen)),
        ("engine", lambda: check_engine(seen)),
        ("data directory", lambda: check_data_dir(settings)),
        ("disk", lambda: check_disk(settings, seen)),
        ("clock", lambda: check_clock(seen)),
        ("database", lambda: check_database(settings)),
        ("kafka", lambda: check_kafka(settings)),
        ("file descriptors", lambda: check_descriptors(settings)),
        ("secrets", lambda: check_secrets(settings)),
        ("time zones", check_zones),
    )
    return [finding for name, check in checks for finding in _guarded(name, check)]


def _guarded(name: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """A refusal of ours says what to do in its own words."""
    try:
        yield from check()
    except BpmError as error:
        found, _, remedy = error.detail.partition("; ")
        yield Finding(name, State.FAILURE, found, remedy or None)
    except OSError as error:
        yield Finding(name, State.FAILURE, str(error), "check the rights of this user")
    except RuntimeError as error:
        # Numba says so when it can keep compiled kernels neither beside the code nor in a folder of the user's.
        remedy = "let this user write to its home, or set NUMBA_CACHE_DIR to a folder that it may write to"
        yield Finding(name, State.FAILURE, str(error), remedy)


def check_port(settings: Settings, seen: Seen | None) -> Iterator[Finding]:
    """Whether the engine has its port, or could have it."""
    where = f"{settings.host}:{settings.port}"
    if seen is not None:
        yield Finding("port", State.OK, f"an engine answers on {where}")
        return
    try:
        require_port(settings)
    except SettingsRefusedError as error:
        found, _, remedy = error.detail.partition("; ")
        yield Finding("port", State.FAILURE, found, remedy)
        return
    yield Finding("port", State.OK, f"{where} is free")


def check_engine(seen: Seen | None) -> Iterator[Finding]:
    """Whether the engine runs and is ready."""
    if seen is None:
        yield Finding("engine", State.OK, "not running; start it with `bpm up`")
    elif seen.is_ready:
        yield Finding("engine", State.OK, f"ready, version {seen.readiness['version']}")
    else:
        remedy = "wait a moment, then look at the engine's log"
        yield Finding("engine", State.FAILURE, f"not ready: {seen.readiness['reason']}", remedy)


def check_data_dir(settings: Settings) -> Iterator[Finding]:
    """Whether the embedded server could work in the data directory."""
    from storage.embedded_postgres.inspection import inspect

    if settings.database_url is not None:
        yield Finding("data directory", State.OK, "holds no database: BPM_DATABASE_URL is set")
        return
    place = inspect(context.embedded_config(settings))
    if not place.exists:
        parent = next(part for part in place.data_dir.parents if part.exists())
        if not os.access(parent, os.W_OK):
            remedy = "choose another BPM_DATA_DIR, or let this user write there"
            found = f"{place.data_dir} doesn't exist, and {parent} may not be written"
            yield Finding("data directory", State.FAILURE, found, remedy)
            return
        yield Finding("data directory", State.OK, f"{place.data_dir} will be made, for {place.account}")
        return
    if not os.access(place.data_dir, os.R_OK | os.W_OK | os.X_OK):
        remedy = f"run the command as root or as {place.account}"
        yield Finding("data directory", State.FAILURE, f"{place.data_dir} may not be written", remedy)
        return
    holds = "a cluster" if place.has_cluster else "no cluster yet"
    runs = "not running" if place.server_pid is None else f"running, process {place.server_pid}"
    yield Finding("data directory", State.OK, f"{place.data_dir} of {place.account}, with {holds}")
    yield Finding("embedded server", State.OK, runs)


def check_disk(settings: Settings, seen: Seen | None) -> Iterator[Finding]:
    """Whether there is room, and for how long."""
    from api.disk import free_bytes, mark_of

    free, low = free_bytes(settings.data_dir.absolute()), mark_of(settings)
    days = None if seen is None else seen.readiness["disk"]["days_until_full"]
    said = f"{bytes_text(free)} free"
    remedy = "make room, move BPM_DATA_DIR to a larger disk, or shorten retention"
    if free < low:
        found = f"{said}, less than the {bytes_text(low)} of BPM_DISK_LOW_BYTES: readings are refused"
        yield Finding("disk", State.FAILURE, found, remedy)
    elif days is not None and days < _DAYS_LEFT_MIN:
        yield Finding(
            "disk", State.WARNING, f"{said}, which lasts {days:.1f} days at the pace of now", remedy
        )
    elif free < _ROOM_FACTOR * low:
        found = f"{said}; below {bytes_text(low)} (BPM_DISK_LOW_BYTES) readings are refused"
        yield Finding("disk", State.WARNING, found, remedy)
    else:
        yield Finding("disk", State.OK, said)


def check_clock(seen: Seen | None) -> Iterator[Finding]:
    """Whether the clock can be believed, and whether the engine believes it."""
    now = datetime.now(UTC)
    if now.year < _YEAR_MIN:
        yield Finding(
            "clock", State.FAILURE, f"it says {now:%Y-%m-%d}", "set the clock, then start the engine"
        )
    elif seen is not None and seen.readiness["code"] == "clock_jumped":
        remedy = "set the clock right, then run `bpm clock confirm`"
        yield Finding("clock", State.FAILURE, str(seen.readiness["reason"]), remedy)
    elif _is_unsynchronised():
        remedy = "switch time synchronisation on, such as chrony or systemd-timesyncd"
        yield Finding("clock", State.WARNING, f"{now:%Y-%m-%d %H:%M:%S} UTC, not synchronised", remedy)
    else:
        yield Finding("clock", State.OK, f"{now:%Y-%m-%d %H:%M:%S} UTC")


def _is_unsynchronised() -> bool:
    """True when the kernel says that nothing keeps its clock right; it is only asked."""
    adjtimex = getattr(ctypes.CDLL(None), "adjtimex", None)
    return (
        adjtimex is not None and adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES)) == _CLOCK_UNSYNCHRONISED
    )


def check_database(settings: Settings) -> Iterator[Finding]:
    """Whether the database can be reached, is up to date, and keeps tenants apart."""
    import psycopg
    from psycopg.conninfo import make_conninfo

    from storage import checks, hypertables, operation
    from storage.connections import connect
    from storage.database import SCHEMA
    from storage.migrate import OLDEST_SERVER

    access = context.reachable_database(settings)
    if access is None:
        yield Finding(
            "database", State.OK, "the embedded one doesn't run; it is checked when the engine does"
        )
        return
    where = make_conninfo(access.admin, options=f"-c search_path={SCHEMA}", connect_timeout=5)
    try:
        with connect(where, autocommit=True) as connection:
            version = connection.info.server_version
            if version < OLDEST_SERVER:
                yield Finding("database", State.FAILURE, f"PostgreSQL {version // 10_000}", "use 15 or later")
                return
            yield Finding("database", State.OK, f"PostgreSQL {version // 10_000}.{version % 10_000} answers")
            missing, unknown = operation.unapplied(connection)
            yield _migrations(missing, unknown)
            if missing or unknown:
                return
            yield Finding("layout", State.OK, hypertables.described(connection))
            yield _arrivals(operation.latest_arrival(connection), settings)
        checks.check_database(access.admin, access.service)
        yield Finding("roles", State.OK, "tenants are kept apart")
    except psycopg.errors.UndefinedTable:
        yield Finding("migrations", State.WARNING, "nothing is there yet", "run `bpm migrate`, or `bpm up`")
    except psycopg.OperationalError as error:
        remedy = "check BPM_DATABASE_URL and the server" if settings.database_url else "look at postgres.log"
        yield Finding("database", State.FAILURE, f"it can't be reached: {str(error).strip()}", remedy)
    except DatabaseRefusedError as error:
        remedy = "take back what was granted or switched off by hand"
        yield Finding("roles", State.FAILURE, error.detail, remedy)


def _migrations(missing: list[str], unknown: list[int]) -> Finding:
    if unknown:
        found = f"a newer version has applied {', '.join(map(str, unknown))}"
        return Finding("migrations", State.FAILURE, found, "run the newer version of the engine")
    if missing:
        return Finding("migrations", State.WARNING, f"missing: {', '.join(missing)}", "run `bpm migrate`")
    return Finding("migrations", State.OK, "all are applied")


def _arrivals(latest: datetime | None, settings: Settings) -> Finding:
    ahead = timedelta(0) if latest is None else latest - datetime.fromtimestamp(time.time(), UTC)
    if ahead > timedelta(seconds=settings.clock_jump_s_max):
        found = f"the newest batch arrived {ahead} after this clock's time"
        return Finding("arrivals", State.FAILURE, found, "set the clock right, then run `bpm clock confirm`")
    when = "no batch yet" if latest is None else f"the newest batch arrived {latest:%Y-%m-%d %H:%M:%S} UTC"
    return Finding("arrivals", State.OK, when)


def check_kafka(settings: Settings) -> Iterator[Finding]:
    """Whether the cluster can be reached, and its topics are as they should be; nothing when none is set."""
    if settings.kafka is None:
        return
    from api.cli.topics import topic_sizes
    from streams.topic_admin import inspect_topics

    try:
        seen = inspect_topics(settings.kafka, topic_sizes(settings))
    except KafkaUnreachableError as error:
        yield Finding("kafka", State.FAILURE, error.detail, "check BPM_KAFKA and the brokers")
        return
    brokers = "one broker answers" if seen.brokers == 1 else f"{seen.brokers} brokers answer"
    yield Finding("kafka", State.OK, brokers)
    if seen.missing:
        found = f"missing: {', '.join(seen.missing)}"
        yield Finding("topics", State.FAILURE, found, "run `bpm migrate`")
    for drift in seen.drifts:
        state = State.FAILURE if drift.refuses else State.WARNING
        yield Finding("topics", state, str(drift), "see docs/reference/kafka.md")
    if not seen.missing and not seen.drifts:
        yield Finding("topics", State.OK, "all are as they should be")


def check_descriptors(settings: Settings) -> Iterator[Finding]:
    """Whether as many sockets can be open as the settings promise."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.live_connections_max + settings.database_connections_max + _DESCRIPTORS_OF_OURS
    remedy = f"raise it with `ulimit -n {wanted}` or LimitNOFILE={wanted}, or lower BPM_LIVE_CONNECTIONS_MAX"
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        yield Finding("file descriptors", State.OK, f"{soft} in this shell")
    elif soft < _DESCRIPTORS_MIN:
        yield Finding("file descriptors", State.FAILURE, f"only {soft} in this shell", remedy)
    else:
        found = f"{soft} in this shell, too few for {settings.live_connections_max} live connections"
        yield Finding("file descriptors", State.WARNING, found, remedy)


def check_secrets(settings: Settings) -> Iterator[Finding]:
    """Whether tokens can be verified and secrets kept. In development nothing is asked, and nothing made."""
    from api.delivering.sealing import make_sealer

    if not _is_production(settings):
        yield Finding("secrets", State.OK, "development: keys of this machine; not for production")
        return
    try:
        make_verifier(settings, time.time)
        others = "" if settings.token_issuer is None else f", and by {settings.token_issuer}"
        yield Finding("tokens", State.OK, f"issued here{others}")
    except SettingsRefusedError as error:
        yield Finding("tokens", State.FAILURE, error.detail, "see docs/reference/settings.md")
    if make_sealer(settings).has_keys:
        yield Finding("secrets", State.OK, f"sealed by {settings.secrets_key_file}")
    else:
        remedy = "make one: openssl rand -base64 32 > FILE; chmod 600 FILE; BPM_SECRETS_KEY_FILE=FILE"
        yield Finding("secrets", State.WARNING, "no key: webhook channels can't be made", remedy)


def _is_production(settings: Settings) -> bool:
    """Commands run beside a development engine are often not told so; its key tells."""
    told = settings.env is Environment.PRODUCTION
    return told and ("env" in settings.model_fields_set or not _has_development_key(settings.data_dir))


def _has_development_key(data_dir: Path) -> bool:
    try:
        return (data_dir / DEVELOPMENT_KEY_FILE).exists()
    except OSError:
        return False


def check_zones() -> Iterator[Finding]:
    """Whether the time zones of sites can be looked up."""
    try:
        for name in _ZONES:
            ZoneInfo(name)
    except ZoneInfoNotFoundError as error:
        yield Finding(
            "time zones", State.FAILURE, str(error), "install the package tzdata into the environment"
        )
        return
    yield Finding("time zones", State.OK, "can be looked up")
