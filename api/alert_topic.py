"""Publishes events of alerts into their topic, for whoever listens there."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import psycopg
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from psycopg.rows import dict_row

from api.delivering.messages import message_of
from storage.alerting import CHANNEL
from storage.database import adapt_columns
from storage.publishing import partitions_behind, publish
from streams.topics import ALERTS, Header, version_header

log = logging.getLogger(__name__)


class AlertPublisher:
    """Looks when it is notified, and every `poll_s` in any case. Any number of processes may run one.

    An event is sent at least once, each alert's in their order: its partition and number tell a repetition.
    """

    def __init__(
        self,
        conninfo: str,
        events_max: int,
        poll_s: float,
        producer: Callable[[], Awaitable[AIOKafkaProducer]],
    ) -> None:
        """conninfo: of the ingest role. producer: gives one that has been started."""
        self._conninfo = conninfo
        self._events_max = events_max
        self._poll_s = poll_s
        self._producer = producer

    async def run(self) -> None:
        """Look again and again, until the task is cancelled."""
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(
                    self._conninfo, autocommit=True, row_factory=dict_row
                ) as connection:
                    adapt_columns(connection)
                    await connection.execute(f"LISTEN {CHANNEL}")
                    while True:
                        await self._look(connection)
                        async for _ in connection.notifies(timeout=self._poll_s, stop_after=1):
                            pass
            except (psycopg.Error, KafkaError, OSError, TimeoutError) as error:
                log.warning("alerts can't be published now: %s", type(error).__name__)
                await asyncio.sleep(self._poll_s)

    async def _look(self, connection: psycopg.AsyncConnection[dict[str, Any]]) -> None:
        for partition_no in await partitions_behind(connection):
            while await publish(connection, partition_no, self._events_max, self._send):
                pass

    async def _send(self, events: Sequence[dict[str, Any]]) -> None:
        producer = await self._producer()
        sent = [
            await producer.send(
                ALERTS.name,
                message_of(event).encode(),
                key=str(event["id"]).encode(),
                headers=[version_header(ALERTS), (Header.TENANT.value, event["tenant_name"].encode())],
            )
            for event in events
        ]
        await asyncio.gather(*sent)
