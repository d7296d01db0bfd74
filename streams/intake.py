"""What waits for the writer: live batches, and bulk ones that never delay them."""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final
from uuid import UUID

from domain.errors import BpmError, BusyError, InFlightError, UnavailableError
from domain.readings import IncomingBatch
from domain.receipts import Receipt
from domain.tenancy import TenantId
from streams.limits import RunnerLimits

log = logging.getLogger(__name__)

_IDLE_WAIT_S: Final = 0.25


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """A batch that waits for its commit, or the next part of one, of which `committed` parts have receipts."""

    batch: IncomingBatch
    whole: IncomingBatch
    later: tuple[IncomingBatch, ...]
    committed: tuple[Receipt, ...]
    answer: "asyncio.Future[Receipt]"
    loop: asyncio.AbstractEventLoop

    @property
    def key(self) -> tuple[TenantId, UUID]:
        return self.batch.tenant_id, self.batch.id

    @property
    def whole_key(self) -> tuple[TenantId, UUID]:
        return self.whole.tenant_id, self.whole.id

    @property
    def is_last_part(self) -> bool:
        return self.batch is not self.whole and not self.later

    def after(self, receipt: Receipt) -> "Waiting":
        """The next part, once this one is committed."""
        return replace(self, batch=self.later[0], later=self.later[1:], committed=(*self.committed, receipt))

    def resolve(self, result: Receipt | BpmError) -> None:
        """Give the answer to whoever waits on the event loop."""

        def settle() -> None:
            if self.answer.cancelled():
                return
            if isinstance(result, BpmError):
                self.answer.set_exception(result)
            else:
                self.answer.set_result(result)

        try:
            self.loop.call_soon_threadsafe(settle)
        except RuntimeError:
            log.info("the event loop has ended before batch %s was answered", self.batch.id)


@dataclass(slots=True)
class _Queue:
    """Batches in order of arrival, with their readings and the sizes of their bodies."""

    waiting: deque[Waiting] = field(default_factory=deque)
    readings: int = 0
    body_bytes: int = 0

    def take(self, readings_max: int) -> list[Waiting]:
        """The first ones, with so many readings at most, and at least one when there is one."""
        group: list[Waiting] = []
        size = 0
        while self.waiting and (not group or size + self.waiting[0].batch.received <= readings_max):
            taken = self.waiting.popleft()
            size += taken.batch.received
            group.append(taken)
        self.readings -= size
        self.body_bytes -= sum(taken.batch.body_bytes for taken in group)
        return group


class Intake:
    """Two bounded queues between the event loop and the writer's thread, and the ids that are in flight."""

    def __init__(self, limits: RunnerLimits) -> None:
        self._limits = limits
        self._changed = threading.Condition()
        self._live, self._bulk = _Queue(), _Queue()
        self._bulk_is_next = False
        self._in_flight: set[tuple[TenantId, UUID]] = set()
        self._awake = False
        self._stopping = False

    def reserve(self, tenant: TenantId, batch_id: UUID) -> None:
        """Enter an id as in flight. Raises InFlightError when it is."""
        with self._changed:
            if (tenant, batch_id) in self._in_flight:
                raise InFlightError("a request with this Idempotency-Key is being worked on")
            self._in_flight.add((tenant, batch_id))

    def release(self, tenant: TenantId, batch_id: UUID) -> None:
        """Take back `reserve`."""
        with self._changed:
            self._in_flight.discard((tenant, batch_id))

    def put(self, waiting: Waiting, *, bulk: bool) -> None:
        """Let a batch wait. Raises BusyError at the limit, UnavailableError when the writer stops."""
        batch, queue = waiting.whole, self._bulk if bulk else self._live
        limits = self._limits
        with self._changed:
            if self._stopping:
                raise UnavailableError("the engine is stopping", retry_after_s=limits.retry_after_s)
            if queue.readings and queue.readings + batch.received > limits.queue_readings_max:
                raise BusyError(
                    f"{queue.readings} readings wait already",
                    limit=limits.queue_readings_max,
                    retry_after_s=limits.retry_after_s,
                )
            if queue.body_bytes and queue.body_bytes + batch.body_bytes > limits.queue_bytes_max:
                raise BusyError(
                    f"bodies of {queue.body_bytes} bytes wait already",
                    limit=limits.queue_bytes_max,
                    retry_after_s=limits.retry_after_s,
                )
            queue.readings += batch.received
            queue.body_bytes += batch.body_bytes
            queue.waiting.append(waiting)
            self._changed.notify()

    def put_next_part(self, waiting: Waiting) -> None:
        """Let the next part of a batch wait in front, since its batch has begun."""
        with self._changed:
            self._bulk.waiting.appendleft(waiting)

    def take(self) -> list[Waiting]:
        """What the writer commits next: live batches, and in turn with them a slice of bulk ones.

        Waits a short time when there is nothing, unless it is woken.
        """
        with self._changed:
            if not (self._live.waiting or self._bulk.waiting or self._awake or self._stopping):
                self._changed.wait(_IDLE_WAIT_S)
            self._awake = False
            if self._bulk.waiting and (self._bulk_is_next or not self._live.waiting):
                self._bulk_is_next = False
                return self._bulk.take(self._limits.bulk_slice_readings)
            self._bulk_is_next = True
            return self._live.take(self._limits.group_readings_max)

    def drain(self) -> list[Waiting]:
        """Everything that waits; the queues are empty then."""
        with self._changed:
            waiting = [*self._live.waiting, *self._bulk.waiting]
            self._live, self._bulk = _Queue(), _Queue()
            return waiting

    def queued_readings(self) -> int:
        """Readings that wait."""
        return self._live.readings + self._bulk.readings

    def is_idle(self) -> bool:
        """Whether no reading waits."""
        return self.queued_readings() == 0

    def wake(self) -> None:
        """Let the writer go on at once: there is other work for it."""
        with self._changed:
            self._awake = True
            self._changed.notify_all()

    def stop(self) -> None:
        """Take nothing more."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    @property
    def stopping(self) -> bool:
        """Whether nothing more is taken."""
        return self._stopping

    def pause(self, seconds: float, give_up: Callable[[], bool]) -> bool:
        """Wait a while, in which `stop` wakes; False, at once, when stopping or giving up."""
        with self._changed:
            if self._stopping or give_up():
                return False
            self._changed.wait(seconds)
            return True
