"""The engine equals a naive model of dictionaries, step by step."""

import asyncio

from api.bootstrap import DatabaseAccess
from tests.model.play import run


def test_fixed(database: DatabaseAccess) -> None:
    asyncio.run(run(database, 1, 300))
