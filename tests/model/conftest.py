"""A database for each run."""

from collections.abc import Callable

import pytest

from api.database_access import DatabaseAccess
from storage.embedded_postgres import Connections
from tests.databases import new_database


@pytest.fixture
def own_database(postgres: Connections) -> Callable[[], DatabaseAccess]:
    """Makes a migrated database at each call."""
    return lambda: new_database(postgres)
