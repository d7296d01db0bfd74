"""The contract of the store holds for both layouts: native partitions, and hypertables of TimescaleDB."""

from collections.abc import Iterator

import pytest

from storage.embedded_postgres import Connections
from tests import timescale


@pytest.fixture(scope="session", params=timescale.BOTH)
def postgres(request: pytest.FixtureRequest, postgres: Connections) -> Iterator[Connections]:
    """The server of the suite; once more a server with TimescaleDB, where there is one."""
    if request.param == timescale.PARTITIONS:
        yield postgres
        return
    with timescale.connections(timescale.MADE) as connections:
        yield connections
