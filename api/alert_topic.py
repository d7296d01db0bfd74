"""Publishes events of alerts into their topic, for whoever listens there."""

import asyncio
from collections.abc import Sequence
from typing import Any

from aiokafka.errors import KafkaError

from api.delivering.messages import message_of
from storage.following import Connection, follow_alerts
from storage.publishing import partitions_behind, publish
from streams.producing import Producer
from streams.topics import Header, Topic, version_header


class AlertPublisher:
    """Looks when it is notified, and every `poll_s` in any case. Any number of processes may run one.

    An event is sent at least once, each alert's in their order: its partition and number tell a repetition.
    """

    def __init__(
        self,
        conninfo: str,
        topic: Topic,
        events_max: int,
        poll_s: float,
        turn_s_max: float,
        producer: Producer,
    ) -> None:
        """conninfo: of the ingest role. turn_s_max: see `publish`."""
        self._conninfo = conninfo
        self._topic = topic
        self._events_max = events_max
        self._poll_s = poll_s
        self._turn_s_max = turn_s_max
        self._producer = producer

    async def run(self) -> None:
        """Look again and again, until the task is cancelled."""
        await follow_alerts(
            self._conninfo, self._poll_s, "alerts can't be published", self._look, (KafkaError, TimeoutError)
        )

    async def _look(self, connection: Connection) -> None:
        behind = await partitions_behind(connection)
        if behind:
            # Whoever doesn't reach the brokers takes no turn.
            await self._producer.require_brokers()
        for partition_no in behind:
            while await publish(connection, partition_no, self._events_max, self._send, self._turn_s_max):
                pass

    async def _send(self, events: Sequence[dict[str, Any]]) -> None:
        async with self._producer.sending() as producer:
            sent = [
                await producer.send(
                    self._topic.name,
                    message_of(event).encode(),
                    key=str(event["id"]).encode(),
                    headers=[
                        version_header(self._topic),
                        (Header.TENANT.value, event["tenant_name"].encode()),
                    ],
                )
                for event in events
            ]
            await asyncio.gather(*sent)
