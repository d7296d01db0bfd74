"""Fixtures of the whole suite: one real PostgreSQL, a database for each test module, a running engine."""

import gc
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import certifi
import pytest
import trustme

from api.client.generate import generate
from api.database_access import DatabaseAccess
from storage.embedded_postgres import Connections, EmbeddedConfig, EmbeddedPostgres
from tests import databases, timescale
from tests.both import EMBEDDED
from tests.kafka import jars
from tests.kafka.shared import shared_broker
from tests.kafka.workers import Worker, adopt_new_topic, working
from tests.running import RunningApi, running_api

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session", autouse=True)
def loopback_only() -> Iterator[None]:
    """No test asks a name server: names that tests make up, fuzzed ones too, lead nowhere."""
    resolve = socket.getaddrinfo

    def resolve_here(host: Any, port: Any, *given: Any, **options: Any) -> Any:
        if host in (None, "", "localhost", b"localhost"):
            return resolve(host, port, *given, **options)
        try:
            resolve(host, port, flags=socket.AI_NUMERICHOST)
        except (OSError, UnicodeError):
            raise socket.gaierror(socket.EAI_NONAME, "tests resolve no names") from None
        return resolve(host, port, *given, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", resolve_here)
        yield


@pytest.fixture(scope="session", autouse=True)
def no_public_authorities(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Clients of tests trust no authority of the internet: httpx reads all of them for each client, for 20 ms."""
    nobody = tmp_path_factory.mktemp("authorities") / "nobody.pem"
    trustme.CA().cert_pem.write_to_path(str(nobody))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certifi, "where", lambda: str(nobody))
        yield


@pytest.fixture(scope="session")
def reachable_folder() -> Iterator[Path]:
    """A folder that the embedded server's account can reach too, which pytest's own is not for root."""
    folder = Path(tempfile.mkdtemp(prefix="bpm-tests-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What is collected stays to the end: to look whether it is garbage took a fifth of the start."""
    gc.disable()
    yield
    gc.freeze()
    gc.enable()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--on-timescale",
        action="store_true",
        help="databases of tests are made on the server of BPM_TEST_TIMESCALE_URL, with hypertables",
    )


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest, reachable_folder: Path) -> Iterator[Connections]:
    """A real PostgreSQL, started once; or, where asked for, the server with TimescaleDB."""
    if request.config.getoption("--on-timescale"):
        if timescale.URL is None:
            raise pytest.UsageError("--on-timescale needs BPM_TEST_TIMESCALE_URL")
        with timescale.connections(timescale.MADE) as connections:
            yield connections
        return
    # Nothing kills this one; the tests that kill servers start their own, which are durable.
    config = EmbeddedConfig(data_dir=reachable_folder / "postgres", shared_buffers_mb=256, durable=False)
    server = EmbeddedPostgres(config, lambda _: None)
    yield server.start()
    server.stop()


@pytest.fixture(scope="module")
def empty_database(postgres: Connections) -> DatabaseAccess:
    """A database without anything in it."""
    return databases.empty_database(postgres)


@pytest.fixture(scope="module")
def database(postgres: Connections) -> DatabaseAccess:
    """A migrated database of the test module's own."""
    return databases.new_database(postgres)


@pytest.fixture(scope="module")
def second_database(postgres: Connections) -> DatabaseAccess:
    """One more, for a second engine with other settings."""
    return databases.new_database(postgres)


@pytest.fixture
def own_database(postgres: Connections) -> DatabaseAccess:
    """A migrated database of one test's own, for tests of marks that only ever move forward."""
    return databases.new_database(postgres)


@pytest.fixture(scope="session")
def kafka_jars() -> None:
    """All that a broker needs to be started; tests that need it skip without, and are marked needs_kafka."""
    if (missing := jars.missing()) is not None:
        pytest.skip(f"needs {missing}")


@pytest.fixture(scope="session")
def kafka(kafka_jars: None, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[str]:
    """The address of a real broker, one for the whole run. Nobody kills it; topics have names of their own."""
    base = tmp_path_factory.getbasetemp()
    run = base if worker_id == "master" else base.parent
    with shared_broker(run / "kafka") as bootstrap:
        yield bootstrap


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real recordings beside the repository; tests that need them skip without."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip("needs the recordings in ../shared/data")
    return folder


@pytest.fixture(scope="session")
def generated_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The Python client as users get it; it can be imported as bpm_client until the end."""
    folder = generate(tmp_path_factory.mktemp("client") / "project")
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings in the developer's environment don't reach tests."""
    for name in [name for name in os.environ if name.startswith("BPM_")]:
        monkeypatch.delenv(name)


PARTITIONS = 4


@pytest.fixture(scope="module")
def api(
    request: pytest.FixtureRequest, postgres: Connections, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningApi]:
    """A running API on the module's database; where a module asks for it, once more over a topic and a worker."""
    folder = tmp_path_factory.mktemp("data")
    if getattr(request, "param", EMBEDDED) == EMBEDDED:
        with running_api(request.getfixturevalue("database"), folder) as running:
            yield running
        return
    bootstrap = request.getfixturevalue("kafka")
    database = databases.new_database(postgres)
    adopt_new_topic(database, bootstrap, PARTITIONS)
    with (
        working(Worker(database, bootstrap, folder / "worker")),
        running_api(database, folder, kafka=bootstrap, receipt_wait_s=60) as running,
    ):
        yield running


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Modules that say RUNNERS = BOTH are run with each."""
    runners = getattr(metafunc.module, "RUNNERS", None)
    if runners is not None and "api" in metafunc.fixturenames:
        metafunc.parametrize("api", runners, indirect=True, scope="module")
