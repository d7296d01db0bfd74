"""A producer of messages that is started when it is first needed, and is replaced when it is of no use any more."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError, ProducerClosed

from domain.errors import KafkaUnreachableError
from streams.reach import first_answering

log = logging.getLogger(__name__)


class Producer:
    """Sends messages, of which each is durable once it is acknowledged."""

    def __init__(self, bootstrap: str, end_s_max: float, **settings: Any) -> None:
        """end_s_max: how long what is on its way may take when it ends. settings: of aiokafka's producer."""
        self._bootstrap = bootstrap
        self._made = partial(AIOKafkaProducer, acks="all", **settings)
        self._end_s_max = end_s_max
        self._starting = asyncio.Lock()
        self._started: AIOKafkaProducer | None = None
        self._stopped = False

    async def started(self) -> AIOKafkaProducer:
        """The one that sends. Raises KafkaError when the brokers can't be reached, or after `stop`."""
        async with self._starting:
            if self._stopped:
                raise ProducerClosed
            if self._started is None:
                producer = self._made(bootstrap_servers=await self._reached())
                try:
                    await producer.start()
                except BaseException:
                    await producer.stop()
                    raise
                self._started = producer
            return self._started

    async def require_brokers(self) -> None:
        """Raises KafkaError when no broker answers now."""
        producer = await self.started()
        if not await producer.client.force_metadata_update():
            raise KafkaConnectionError("no broker answers")

    async def _reached(self) -> str:
        try:
            return await first_answering(self._bootstrap)
        except KafkaUnreachableError as error:
            raise KafkaConnectionError(error.detail) from error

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[AIOKafkaProducer]:
        """The one that sends, around sending; the next message gets another one when a broker refuses this.

        For an idempotent one counts a message that is refused, and brokers take none of its partition after that gap.
        """
        producer = await self.started()
        try:
            yield producer
        except KafkaError as error:
            if not error.retriable and producer is self._started:
                self._started = None
                log.warning("messages go on through another producer after %s", type(error).__name__)
                await _end(producer, self._end_s_max)
            raise

    async def stop(self, *, wait: bool = True) -> None:
        """Send what is on its way, and end. wait: whether brokers may still acknowledge it."""
        self._stopped = True
        producer, self._started = self._started, None
        if producer is not None:
            await _end(producer, self._end_s_max if wait else 0)


async def _end(producer: AIOKafkaProducer, wait_s_max: float) -> None:
    """Send what is on its way, and give up what isn't acknowledged in time: an idempotent one would try for ever."""
    stopping = asyncio.create_task(producer.stop())
    if stopping not in (await asyncio.wait({stopping}, timeout=wait_s_max))[0]:
        log.warning("what was on its way into a topic is given up, unacknowledged")
        sender = producer._sender.sender_task  # noqa: SLF001 - nothing else ends it
        for _ in range(2):
            # After the first time it still waits for answers that may never come.
            sender.cancel()
            await asyncio.sleep(0)
        await producer.client.close()
    await stopping
