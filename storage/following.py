"""Looking at the alert log whenever it grows."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg_pool import PoolTimeout

from storage.alerting import CHANNEL
from storage.connections import connect_async
from storage.database import adapt_columns

log = logging.getLogger(__name__)

Connection = psycopg.AsyncConnection[dict[str, Any]]


async def follow_alerts(
    conninfo: str,
    poll_s: float,
    what: str,
    look: Callable[[Connection], Awaitable[object]],
    passing: tuple[type[Exception], ...] = (),
) -> None:
    """Look when it is notified, and every `poll_s` in any case, until the task is cancelled.

    what: said in the log when that can't be done now. look: gets a connection of its own. passing: errors that are
    expected, besides those of the database. Whatever else it raises is told in full, and it is tried again too: nobody
    else would look.
    """
    expected: tuple[type[Exception], ...] = (psycopg.Error, PoolTimeout, OSError, *passing)
    while True:
        try:
            async with await connect_async(conninfo, autocommit=True, row_factory=dict_row) as connection:
                adapt_columns(connection)
                await connection.execute(f"LISTEN {CHANNEL}")
                while True:
                    await look(connection)
                    async for _ in connection.notifies(timeout=poll_s, stop_after=1):
                        pass
        except expected as error:
            log.warning("%s now: %s", what, type(error).__name__)
        except Exception:
            log.exception("%s now", what)
        await asyncio.sleep(poll_s)
