"""What takes readings in, as requests see it: this process's own writer, or a topic that workers read."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Protocol, TypeVar
from uuid import UUID

from domain.alerts import AlertAction, ClearByHand
from domain.clock import MILLISECONDS_PER_SECOND, from_ms
from domain.errors import BpmError, NotFoundError, UnavailableError
from domain.readings import NEVER_MS, IncomingBatch, Int32Array, Int64Array
from domain.receipts import Receipt
from domain.tenancy import TenantId
from storage.alert_actions import AlertDesk
from storage.latest import LatestReader
from storage.reports import Reports
from streams.bus import Bus
from streams.live_export import MergedPicture, PartitionPicture, Unheard
from streams.live_figures import Figures

log = logging.getLogger(__name__)

T = TypeVar("T")

_LOOK_S: Final = 0.05
_PICTURE_MS_MAX: Final = 1000
_COUNTED_MS_MAX: Final = 10_000


class Runner(Protocol):
    """Takes batches in, and knows what followed from them."""

    @property
    def trouble(self) -> str | None: ...

    @property
    def kafka_away(self) -> bool: ...

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def queued_readings(self) -> int: ...

    def reserve(self, tenant: TenantId, batch_id: UUID) -> None: ...

    def release(self, tenant: TenantId, batch_id: UUID) -> None: ...

    async def submit(self, batch: IncomingBatch) -> Receipt: ...

    async def latest_of_packs(self, pack: Int32Array) -> tuple[Int64Array, Int32Array]: ...

    async def picture(self) -> Figures: ...

    async def act_on_alert(self, action: AlertAction, pack: int | None) -> None: ...

    async def clear_alert(self, asked: ClearByHand) -> None: ...

    async def corrected(self, correction_id: UUID, wait_s: float) -> bool: ...


class TopicRunner:
    """Sends into the topic; everything else it asks of the store, where the workers leave it."""

    def __init__(
        self,
        bus: Bus,
        latest: LatestReader,
        reports: Reports,
        stale_after_s: float,
        silent_after_s: int,
        desk: AlertDesk,
        is_corrected: Callable[[UUID], bool],
        now_ms: Callable[[], int],
        wait_s_max: float,
        retry_after_s: int,
    ) -> None:
        self._bus = bus
        self._latest = latest
        self._reports = reports
        self._stale_after_s = stale_after_s
        self._silent_after_s = silent_after_s
        self._unheard = Unheard()
        self._counted_at_ms = 0
        self._picture: MergedPicture | None = None
        self._looked_at_ms = 0
        self._desk = desk
        self._is_corrected = is_corrected
        self._now_ms = now_ms
        self._wait_s_max = wait_s_max
        self._retry_after_s = retry_after_s

    @property
    def trouble(self) -> str | None:
        """Why readings can't be accepted now; None when they can."""
        return self._bus.trouble

    @property
    def kafka_away(self) -> bool:
        """Whether it is the brokers that readings can't be accepted for now."""
        return self._bus.kafka_away

    async def start(self) -> None:
        """Begin to reach the topic."""
        await self._bus.start()

    async def stop(self) -> None:
        """Send what is on its way."""
        await self._bus.stop()

    def queued_readings(self) -> int:
        """Readings on their way into the topic."""
        return self._bus.queued_readings()

    def reserve(self, tenant: TenantId, batch_id: UUID) -> None:
        """Enter an id as in flight. Raises InFlightError when it is."""
        self._bus.reserve(tenant, batch_id)

    def release(self, tenant: TenantId, batch_id: UUID) -> None:
        """Take back `reserve`."""
        self._bus.release(tenant, batch_id)

    async def submit(self, batch: IncomingBatch) -> Receipt:
        """The receipt of a batch, committed or pending. See `Bus.submit`."""
        return await self._bus.submit(batch)

    async def latest_of_packs(self, pack: Int32Array) -> tuple[Int64Array, Int32Array]:
        """Time in ms and thousandths of the latest values of n packs, [measures, n] each; NEVER_MS for none."""
        return await self._of_store(lambda: self._latest.of_packs(pack, NEVER_MS))

    async def picture(self) -> Figures:
        """The fleet as the partitions' owners last said, not older than a second."""
        now_ms = self._now_ms()
        if self._picture is None or not 0 <= now_ms - self._looked_at_ms < _PICTURE_MS_MAX:
            self._looked_at_ms = now_ms
            self._picture = await self._of_store(lambda: self._merged(now_ms))
        return self._picture

    def _merged(self, now_ms: int) -> MergedPicture:
        told, without = self._reports.pictures()
        pictures = [PartitionPicture(*one) for one in told]
        return MergedPicture(pictures, now_ms, self._stale_after_s, self._counted(without, now_ms))

    def _counted(self, without: list[int], now_ms: int) -> Unheard:
        """Partitions without a picture, as the store counts them; not so often, as it looks at each pack."""
        known = list(self._unheard.partitions) == without
        if not known or not 0 <= now_ms - self._counted_at_ms < _COUNTED_MS_MAX:
            silent_before_ms = now_ms - self._silent_after_s * MILLISECONDS_PER_SECOND
            counted = self._reports.unreported(without, silent_before_ms) if without else []
            self._unheard, self._counted_at_ms = Unheard(without, counted), now_ms
        return self._unheard

    async def act_on_alert(self, action: AlertAction, pack: int | None) -> None:
        """Acknowledge, assign or comment an alert. Raises NotFoundError, KeyReusedError, UnavailableError."""
        at = from_ms(self._now_ms())
        await self._of_store(lambda: self._desk.act(action, pack, at))

    async def clear_alert(self, asked: ClearByHand) -> None:
        """Have an open alert cleared by the owner of its partition.

        Raises NotFoundError when it isn't open any more, UnavailableError when nobody does it.
        """
        await self._of_store(lambda: self._desk.ask(asked))
        if not await self._until(lambda: self._desk.answer(asked) is not None, self._wait_s_max):
            raise UnavailableError(
                "the partition's worker did not come to it; look whether it was done",
                retry_after_s=self._retry_after_s,
            )
        if not await self._of_store(lambda: self._desk.answer(asked)):
            raise NotFoundError("no such alert is open")

    async def corrected(self, correction_id: UUID, wait_s: float) -> bool:
        """Whether a correction that stands in the store is done within some time; it goes on in any case."""
        return await self._until(lambda: self._is_corrected(correction_id), wait_s)

    async def _until(self, condition: Callable[[], bool], wait_s: float) -> bool:
        try:
            async with asyncio.timeout(wait_s):
                while not await self._of_store(condition):  # noqa: ASYNC110 - the store says it
                    await asyncio.sleep(_LOOK_S)
        except TimeoutError:
            return False
        return True

    async def _of_store(self, ask: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(ask)
        except BpmError:
            raise
        except Exception as error:
            log.exception("the store can't be asked")
            raise UnavailableError("the store can't be asked", retry_after_s=self._retry_after_s) from error
