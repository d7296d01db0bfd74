"""An API whose readings go through a topic of the module's own, and the worker that takes them in."""

from collections.abc import Iterator

import httpx
import pytest

from api.database_access import DatabaseAccess
from tests.kafka.sending import STALE_S, TENANT
from tests.kafka.workers import Worker, adopt_new_topic
from tests.running import RunningApi, running_api

PARTITIONS = 4


@pytest.fixture(scope="module")
def topic(database: DatabaseAccess, kafka: str) -> str:
    """The topic's name."""
    return adopt_new_topic(database, kafka, PARTITIONS)


@pytest.fixture(scope="module")
def served(
    database: DatabaseAccess, kafka: str, topic: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningApi]:
    """The API, which waits little for a receipt."""
    settings = {"receipt_wait_s": 1.0, "worker_stale_after_s": STALE_S}
    with running_api(database, tmp_path_factory.mktemp("api"), kafka=kafka, **settings) as api:
        api.tenant(TENANT)
        yield api


@pytest.fixture
def client(served: RunningApi) -> Iterator[httpx.Client]:
    """A client of the tenant's administrator."""
    with served.client(TENANT) as client:
        yield client


@pytest.fixture(scope="module")
def worker(
    database: DatabaseAccess, kafka: str, topic: str, tmp_path_factory: pytest.TempPathFactory
) -> Worker:
    """The worker; it isn't started."""
    return Worker(database, kafka, tmp_path_factory.mktemp("worker"))
