"""The runner of an API process whose readings go through a topic: it sends them, and waits for their receipts."""

import asyncio
import logging
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from typing import Final, TypeVar
from uuid import UUID

from aiokafka.errors import KafkaConnectionError, KafkaError

from domain.errors import (
    BpmError,
    BusyError,
    ConflictError,
    InFlightError,
    KafkaRefusedError,
    KafkaUnreachableError,
    KeyReusedError,
    UnavailableError,
)
from domain.readings import IncomingBatch
from domain.receipts import OUTCOME_UNKNOWN, Mode, Receipt, pending_receipt
from domain.tenancy import TenantId
from streams.cutting import CutLimits
from streams.messages import messages_of
from streams.ports import SubmissionStore
from streams.producing import Producer
from streams.reach import Reach, look_at
from streams.topic_admin import require_log
from streams.topics import READINGS, version_header

log = logging.getLogger(__name__)

T = TypeVar("T")

_BATCH_BYTES: Final = 1 << 18
_REQUEST_BYTES: Final = 1 << 22
_LINGER_MS: Final = 2
_RETRY_S: Final = 0.5
_POLL_S: Final = 0.25
_AWAY: Final = "the Kafka brokers are away, or too few of them are there to take messages"


@dataclass(frozen=True, slots=True)
class BusLimits:
    """How much a process has on its way, and how long it waits.

    queue_bytes_max, behind_messages_max: bodies that aren't acknowledged by the topic yet, and messages of a partition
    that its worker hasn't committed yet; at the limit 429.
    message_readings_max, message_raw_bytes_max: readings, and bytes of what was set aside, in one message.
    ack_s_max: how long the topic may take to acknowledge; then 503. receipt_wait_s: how long a request waits for its
    receipt; then 202. store_s_max: how long the store may take to say where the partitions are; then 503, as when it is
    away. retry_after_s: what refused clients are told.
    """

    queue_bytes_max: int
    behind_messages_max: int
    message_readings_max: int
    message_raw_bytes_max: int
    ack_s_max: float
    receipt_wait_s: float
    store_s_max: float
    retry_after_s: int


class Positions:
    """How far each partition has come, and who waits for what."""

    def __init__(self) -> None:
        self.committed: dict[int, int] = {}
        self._waiting: dict[int, list[tuple[int, int, asyncio.Future[None]]]] = {}
        self._order = count()

    def move(self, positions: dict[int, int]) -> None:
        """Let those go on whose messages are committed."""
        self.committed = positions
        for number, position in positions.items():
            waiting = self._waiting.get(number, [])
            while waiting and waiting[0][0] < position:
                future = heappop(waiting)[2]
                if not future.done():
                    future.set_result(None)

    async def passed(self, number: int, offset: int) -> None:
        """Wait until a message is committed."""
        if self.committed.get(number, 0) > offset:
            return
        future = asyncio.get_running_loop().create_future()
        heappush(self._waiting.setdefault(number, []), (offset, next(self._order), future))
        await future


class Bus:
    """Sends batches into the topic: acknowledged once all replicas have them, answered once they are committed."""

    def __init__(
        self, bootstrap: str, log_: str, partitions: int, store: SubmissionStore, limits: BusLimits
    ) -> None:
        """log_: the topic as name/id, in which the partitions' positions count."""
        self._trouble: str | None = "the topic has not been reached yet"
        self._unreached = False
        self._bootstrap = bootstrap
        self._log = log_
        self._topic = log_.partition("/")[0]
        self._partitions = partitions
        self._store = store
        self._limits = limits
        self._positions = Positions()
        self._sent: dict[int, int] = {}
        self._reach = Reach()
        self._in_flight: set[tuple[TenantId, UUID]] = set()
        self._bytes = 0
        self._readings = 0
        self._producer: Producer | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False

    @property
    def trouble(self) -> str | None:
        """Why readings can't be accepted now; None when they can."""
        return self._trouble or (_AWAY if self._reach.away else None)

    @property
    def kafka_away(self) -> bool:
        """Whether it is the brokers that readings can't be accepted for now."""
        return self._unreached or (self._trouble is None and self._reach.away)

    async def start(self) -> None:
        """Begin to reach the topic and to follow its partitions."""
        self._tasks = [asyncio.create_task(self._run()), asyncio.create_task(self._watch())]

    async def stop(self) -> None:
        """Send what is on its way, and end."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._producer is not None:
            await self._producer.stop(wait=not self._reach.away)

    def queued_readings(self) -> int:
        """Readings on their way into the topic."""
        return self._readings

    def reserve(self, tenant: TenantId, batch_id: UUID) -> None:
        """Enter an id as in flight, before anything is looked up for it. Raises InFlightError when it is."""
        if (tenant, batch_id) in self._in_flight:
            raise InFlightError("a request with this Idempotency-Key is being worked on")
        self._in_flight.add((tenant, batch_id))

    def release(self, tenant: TenantId, batch_id: UUID) -> None:
        """Take back `reserve`, once the request has its answer."""
        self._in_flight.discard((tenant, batch_id))

    async def submit(self, batch: IncomingBatch) -> Receipt:
        """The receipt of a batch: committed, or pending when that takes too long; in both cases it is safe.

        Raises BusyError (too much on its way), BodyTooLargeError (a reading that no message takes), ConflictError (an
        import that was undone), KeyReusedError (another body under the same id), UnavailableError (not accepted, or
        outcome unknown: ask again with the same id). The id must have been reserved; it is released.
        """
        try:
            return await self._submit(batch)
        finally:
            self.release(batch.tenant_id, batch.id)

    async def _submit(self, batch: IncomingBatch) -> Receipt:
        if self._stopping or self.trouble is not None:
            raise self._unavailable(self.trouble or "the engine is stopping")
        self._require_room(batch)
        if batch.import_id is not None and await self._of_store(self._store.is_undone(batch)):
            raise ConflictError("the import was undone", field="import")
        if batch.body_hash is not None:
            entered = await self._of_store(self._store.enter(batch))
            if entered.body_hash != batch.body_hash:
                raise KeyReusedError("this Idempotency-Key was used with another body")
            if entered.receipt is not None:
                return entered.receipt
        self._bytes += batch.body_bytes
        self._readings += batch.received
        into = self._log
        try:
            # Of a large body both take longer than the event loop may stand still.
            limits = CutLimits(self._limits.message_readings_max, self._limits.message_raw_bytes_max)
            messages = await asyncio.to_thread(messages_of, batch, self._partitions, limits)
            self._require_pace({number for number, _ in messages})
            deadline = asyncio.get_running_loop().time() + self._limits.receipt_wait_s
            sent = await self._send_all(batch, messages, deadline)
        finally:
            self._bytes -= batch.body_bytes
            self._readings -= batch.received
        return await self._receipt(batch, sent, deadline, into)

    async def _send_all(
        self, batch: IncomingBatch, messages: Sequence[tuple[int, bytes]], deadline: float
    ) -> dict[int, list[int]]:
        """Send the messages of each partition in their order; gives their offsets.

        Those of an import follow one another when the one before is committed, so that live readings never wait for
        more than one of them (rule E5). After the time in which a receipt is waited for, the rest is sent at once.
        """
        by_partition: dict[int, list[bytes]] = {}
        for number, message in messages:
            by_partition.setdefault(number, []).append(message)
        sent: dict[int, list[int]] = {number: [] for number in by_partition}

        async def send(number: int, of_partition: Sequence[bytes]) -> None:
            for message in of_partition:
                if sent[number] and batch.mode is Mode.IMPORT:
                    await self._passed(number, sent[number][-1], deadline)
                sent[number].append(await self._send(number, message))

        sending = [asyncio.create_task(send(*one)) for one in by_partition.items()]
        try:
            await asyncio.gather(*sending)
        except (KafkaError, TimeoutError) as error:
            log.warning("the topic did not take a message: %s", type(error).__name__)
            raise self._unavailable(OUTCOME_UNKNOWN) from error
        finally:
            for one in sending:
                one.cancel()
        return sent

    async def _send(self, number: int, message: bytes) -> int:
        producer = self._producer
        if producer is None:
            raise self._unavailable("the topic can't be reached")
        async with asyncio.timeout(self._limits.ack_s_max) as window:
            with self._reach.acknowledging(window):
                async with producer.sending() as sending:
                    sent = await sending.send_and_wait(
                        self._topic, message, partition=number, headers=[version_header(READINGS)]
                    )
        offset: int = sent.offset
        # What was on its way into a topic that was let go of meanwhile says nothing about the next.
        if producer is self._producer:
            self._sent[number] = max(self._sent.get(number, 0), offset + 1)
        return offset

    async def _passed(self, number: int, offset: int, deadline: float) -> bool:
        """Whether a message is committed by then."""
        try:
            async with asyncio.timeout_at(deadline):
                await self._positions.passed(number, offset)
        except TimeoutError:
            return False
        return True

    async def _receipt(
        self, batch: IncomingBatch, sent: dict[int, list[int]], deadline: float, into: str
    ) -> Receipt:
        """The receipt once all parts are committed, or a pending one at the deadline.

        into: the topic that has them. Nobody reads it any more when another one was adopted meanwhile, and it may have
        lost them again.
        """
        for number, offsets in sent.items():
            if not await self._passed(number, offsets[-1], deadline):
                break
        else:
            receipt = await self._of_store(self._store.receipt(batch.tenant_id, batch.id))
            if receipt is not None:
                return receipt
        if await self._of_store(self._store.log(held=True)) != into:
            raise self._unavailable(OUTCOME_UNKNOWN)
        if not await self._of_store(self._store.promise(batch, into, sent)):
            raise self._unavailable(OUTCOME_UNKNOWN)
        return pending_receipt(batch.id, batch.received, batch.ignored_keys)

    async def _of_store(self, asked: Awaitable[T]) -> T:
        try:
            return await asked
        except BpmError:
            raise
        except Exception as error:
            log.warning("the store can't be asked: %s", type(error).__name__)
            raise self._unavailable(OUTCOME_UNKNOWN) from error

    def _require_room(self, batch: IncomingBatch) -> None:
        limits = self._limits
        if self._bytes and self._bytes + batch.body_bytes > limits.queue_bytes_max:
            raise BusyError(
                f"bodies of {self._bytes} bytes are on their way already",
                limit=limits.queue_bytes_max,
                retry_after_s=limits.retry_after_s,
            )

    def _require_pace(self, numbers: Iterable[int]) -> None:
        """That the partitions of a batch aren't too far behind; others, one that isn't worked on say, don't matter."""
        limits = self._limits
        behind = max(map(self._behind, numbers), default=0)
        if behind > limits.behind_messages_max:
            raise BusyError(
                f"{behind} messages of a partition wait already",
                limit=limits.behind_messages_max,
                retry_after_s=limits.retry_after_s,
            )

    def _behind(self, number: int) -> int:
        return self._sent.get(number, 0) - self._positions.committed.get(number, 0)

    def behind_messages(self) -> int:
        """Messages that wait in the partition that is furthest behind, of those that this process has sent."""
        return max(map(self._behind, self._sent), default=0)

    def _unavailable(self, why: str) -> UnavailableError:
        return UnavailableError(why, retry_after_s=self._limits.retry_after_s)

    # Following the topic and its partitions.

    async def _run(self) -> None:
        while True:
            try:
                if self._producer is None:
                    await self._connect()
                await self._follow()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is tried again
                self._unreached = isinstance(error, (KafkaUnreachableError, KafkaConnectionError))
                why = error.detail if isinstance(error, KafkaRefusedError) else type(error).__name__
                trouble = _AWAY if self._unreached else f"the topic or the store can't be used: {why}"
                if trouble != self._trouble:
                    log.warning("%s: %s", trouble, error)
                self._trouble = trouble
                await asyncio.sleep(_RETRY_S)

    async def _watch(self) -> None:
        """See whether the brokers are there, also while nothing is sent.

        And let go of a topic that was made anew, or isn't the one any more in which positions count.
        """
        while True:
            await self._reach.until_next_look()
            was_away = self._reach.away
            try:
                look = await look_at(self._bootstrap, self._topic)
                self._reach.saw(look)
                if self._reach.away != was_away:
                    log.warning("%s", "the Kafka brokers are back" if was_away else _AWAY)
                if look.whole and self._producer is not None:
                    await self._require_same()
            except KafkaRefusedError as error:
                log.warning("the topic is let go of: %s", error.detail)
                await self._let_go(error.detail)
            except Exception as error:  # noqa: BLE001 - whether they can be reached is seen by who uses them
                log.info("whether the topic is the same can't be told now: %s", type(error).__name__)

    async def _let_go(self, why: str) -> None:
        """Send nothing more into the topic, and forget what was sent; `_run` looks for the one of now."""
        producer, self._producer = self._producer, None
        self._trouble = why
        self._sent.clear()
        if producer is not None:
            try:
                await producer.stop(wait=not self._reach.away)
            except Exception as error:  # noqa: BLE001 - its topic may be gone
                log.info("what was on its way into it was given up: %s", type(error).__name__)

    async def _require_same(self) -> None:
        if await self._store.log() != self._log:
            raise KafkaRefusedError("readings come from another topic now")
        await asyncio.to_thread(require_log, self._bootstrap, self._log)

    async def _connect(self) -> None:
        self._log = await self._store.log()
        self._topic = self._log.partition("/")[0]
        await asyncio.to_thread(require_log, self._bootstrap, self._log)
        if not (await look_at(self._bootstrap, self._topic)).taking:
            raise KafkaUnreachableError("too few brokers answer")
        producer = Producer(
            self._bootstrap,
            self._limits.ack_s_max,
            enable_idempotence=True,
            max_batch_size=_BATCH_BYTES,
            max_request_size=_REQUEST_BYTES,
            linger_ms=_LINGER_MS,
            request_timeout_ms=int(self._limits.ack_s_max * 1000),
        )
        await producer.started()
        self._producer = producer

    async def _follow(self) -> None:
        """Look where the partitions are at every commit, and every now and then in any case."""
        async with await self._store.listening() as connection:
            while True:
                async with asyncio.timeout(self._limits.store_s_max):
                    positions = await self._store.positions()
                if self._producer is None:
                    return
                self._positions.move(positions)
                self._trouble, self._unreached = None, False
                async for _ in connection.notifies(timeout=_POLL_S, stop_after=1):
                    pass
