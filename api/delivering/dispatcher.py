"""Reads the alert log behind the persisted position of each partition, and makes deliveries of it."""

import asyncio

import psycopg

from api.delivering.messages import message_of
from domain.clock import AnchoredClock, from_ms
from storage.dispatching import DispatchLimits, dispatch, partitions_behind
from storage.following import follow_alerts
from storage.transactions import Pool


class Dispatcher:
    """Looks when it is notified, and every `poll_s` in any case. Any number of processes may run one."""

    def __init__(
        self,
        conninfo: str,
        pool: Pool,
        clock: AnchoredClock,
        limits: DispatchLimits,
        poll_s: float,
        made: asyncio.Event,
    ) -> None:
        """made: is set when there may be something to send."""
        self._conninfo = conninfo
        self._pool = pool
        self._clock = clock
        self._limits = limits
        self._poll_s = poll_s
        self._made = made

    async def run(self) -> None:
        """Look again and again, until the task is cancelled."""
        await follow_alerts(self._conninfo, self._poll_s, "alerts can't be dispatched", lambda _: self.look())

    async def look(self) -> int:
        """Make deliveries of all that is there. Gives how many events were read."""
        count = 0
        async with self._pool.connection() as connection:
            for partition_no in await partitions_behind(connection):
                while read := await self._next(connection, partition_no):
                    count += read
                    self._made.set()
        return count

    async def _next(self, connection: psycopg.AsyncConnection[dict[str, object]], partition_no: int) -> int:
        now = from_ms(self._clock.now_ms())
        return await dispatch(connection, partition_no, now, self._limits, message_of)
