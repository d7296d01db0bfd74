"""What acceptance tests share."""

from collections.abc import Iterator

import pytest

from tests.acceptance.test_isolation import Holding, hold
from tests.running import RunningApi


@pytest.fixture(scope="module")
def own(api: RunningApi) -> Iterator[Holding]:
    """A tenant that holds one of everything."""
    holding = hold(api, "alpha", "alpha", 111.111)
    yield holding
    holding.admin.close()
