"""Sends what is due: several channels at once, one delivery of a channel at a time."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import psycopg
from psycopg_pool import PoolTimeout

from api.delivering.emails import EmailSender, compose
from api.delivering.messages import body_of, in_words
from api.delivering.outcome import Outcome
from api.delivering.sealing import SealBrokenError, Sealer
from api.delivering.signing import message_id, signed_headers
from api.delivering.webhooks import WebhookSender
from api.metrics import Metrics
from domain.channels import ChannelKind, DeliveryState, Patience
from domain.clock import AnchoredClock, from_ms
from storage.delivering import (
    ClaimedChannel,
    Delivery,
    Ended,
    Standing,
    claim,
    drop,
    email_wait_s,
    end,
    expire,
    oldest_due,
    release,
    take,
)
from storage.transactions import Pool
from streams.ports import Stage

log = logging.getLogger(__name__)

_SWEEP_S = 15.0
_SWEPT_MAX = 1000


@dataclass(frozen=True, slots=True)
class SenderLimits:
    """channels_max: at once. turn_max: deliveries of a channel in a row. claim_s: how long an attempt may last."""

    patience: Patience
    channels_max: int
    turn_max: int
    claim_s: float
    failing_hours_max: float
    emails_per_hour_max: int
    days_max: float
    poll_s: float


@dataclass(frozen=True, slots=True)
class Outlets:
    """The ways out. email: None when the installation has no mail relay."""

    sealer: Sealer
    webhook: WebhookSender
    email: EmailSender | None


class Sender:
    """Takes up channels with something due until its task is cancelled. Any number of processes may run one."""

    def __init__(
        self,
        pool: Pool,
        clock: AnchoredClock,
        outlets: Outlets,
        limits: SenderLimits,
        metrics: Metrics,
        made: asyncio.Event,
        draw: Callable[[], float],
        reached: Callable[[Stage], None],
    ) -> None:
        """made: says that something may be due. draw: a number from 0 to 1, for jitter."""
        self._pool = pool
        self._clock = clock
        self._outlets = outlets
        self._limits = limits
        self._metrics = metrics
        self._made = made
        self._draw = draw
        self._reached = reached
        self._busy: set[asyncio.Task[None]] = set()
        self._swept_at: datetime | None = None

    async def run(self) -> None:
        """Send what is due, again and again."""
        try:
            while True:
                self._made.clear()
                try:
                    await self.look()
                except (psycopg.Error, PoolTimeout, OSError) as error:
                    log.warning("deliveries can't be looked for now: %s", type(error).__name__)
                try:
                    async with asyncio.timeout(self._limits.poll_s):
                        await self._made.wait()
                except TimeoutError:
                    pass
        finally:
            for task in self._busy:
                task.cancel()
            await asyncio.gather(*self._busy, return_exceptions=True)

    async def look(self) -> int:
        """Take up channels with something due, as far as there is room; gives how many. `settle` waits for them."""
        now = self._now()
        await self._sweep(now)
        room = self._limits.channels_max - len(self._busy)
        if room <= 0:
            return 0
        async with self._pool.connection() as connection:
            channels = await claim(connection, now, self._claimed_until(now), room)
        for channel in channels:
            task = asyncio.create_task(self._serve(channel))
            self._busy.add(task)
            task.add_done_callback(self._ended)
        return len(channels)

    async def settle(self) -> None:
        """Wait until the channels that are taken up are served."""
        while self._busy:
            await asyncio.gather(*self._busy, return_exceptions=True)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._busy.discard(task)
        self._made.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            # The claim ends by itself; an attempt that always fails so is given up with its hours.
            log.error("unexpected error in a delivery", exc_info=error)

    def _now(self) -> datetime:
        return from_ms(self._clock.now_ms())

    def _claimed_until(self, now: datetime) -> datetime:
        return now + timedelta(seconds=self._limits.claim_s)

    async def _serve(self, channel: ClaimedChannel) -> None:
        """Send through a channel until nothing is due, its turn is over, or an attempt fails."""
        standing = Standing(channel.failures, channel.failing_since)
        try:
            for _ in range(self._limits.turn_max):
                delivery = await self._take(channel, standing)
                if delivery is None:
                    return
                standing, is_ours = await self._attempt(channel, delivery, standing)
                if standing.rests_until is not None or not is_ours:
                    return
            await self._release(channel, standing)
        except (psycopg.Error, PoolTimeout, OSError) as error:
            # The claim ends by itself, and the delivery is sent again under its id.
            log.warning("a delivery could not be marked: %s", type(error).__name__)

    async def _take(self, channel: ClaimedChannel, standing: Standing) -> Delivery | None:
        """The next delivery; None, and the channel is let go, when there is none or it must wait."""
        now = self._now()
        async with self._pool.connection() as connection:
            if channel.kind is ChannelKind.EMAIL:
                wait_s = await email_wait_s(
                    connection, channel.tenant_id, now, self._limits.emails_per_hour_max
                )
                if wait_s is not None:
                    rests_until = now + timedelta(seconds=wait_s)
                    await release(connection, channel, replace(standing, rests_until=rests_until))
                    return None
            delivery = await take(connection, channel, now, self._claimed_until(now))
            if delivery is None:
                await release(connection, channel, standing)
        return delivery

    async def _release(self, channel: ClaimedChannel, standing: Standing) -> None:
        async with self._pool.connection() as connection:
            await release(connection, channel, standing)

    async def _attempt(
        self, channel: ClaimedChannel, delivery: Delivery, before: Standing
    ) -> tuple[Standing, bool]:
        """How the channel stands then, and whether this process may go on with it."""
        outcome = await self._send(channel, delivery)
        self._reached(Stage.SENT_BEFORE_MARK)
        now = self._now()
        standing = self._standing(outcome, before, now)
        ended = self._end_of(delivery, outcome, standing, now)
        async with self._pool.connection() as connection:
            is_ours = await end(connection, channel, delivery, ended, standing, self._claimed_until(now), now)
        results = {DeliveryState.PENDING: "failed", DeliveryState.DELIVERED: "delivered"}
        self._metrics.count_attempt(channel.kind, results.get(ended.state, "dead"))
        return standing, is_ours

    async def _send(self, channel: ClaimedChannel, delivery: Delivery) -> Outcome:
        now = self._now()
        if channel.kind is ChannelKind.EMAIL:
            return await self._send_email(channel, delivery, now)
        try:
            secrets = self._secrets(channel, now)
        except SealBrokenError as error:
            return Outcome(delivered=False, error=error.detail, rests=True)
        body = body_of(channel, delivery)
        headers = signed_headers(secrets, delivery.id, now, body)
        return await self._outlets.webhook.send(channel.url or "", headers, body)

    def _secrets(self, channel: ClaimedChannel, now: datetime) -> list[str]:
        sealed = [channel.secret]
        if channel.former_secret_until is not None and now < channel.former_secret_until:
            sealed.append(channel.former_secret)
        open_ = self._outlets.sealer.open
        return [open_(one, channel.tenant_id, channel.id) for one in sealed if one is not None]

    async def _send_email(self, channel: ClaimedChannel, delivery: Delivery, now: datetime) -> Outcome:
        sender = self._outlets.email
        if sender is None:
            return Outcome(delivered=False, error="the installation has no mail relay", rests=True)
        subject, text = in_words(channel, delivery)
        message = compose(sender.relay, channel.recipients, message_id(delivery.id), subject, text, now)
        return await sender.send(message, channel.recipients)

    def _standing(self, outcome: Outcome, before: Standing, now: datetime) -> Standing:
        """How the channel stands after an attempt."""
        if outcome.delivered:
            return Standing()
        failures = before.failures + 1
        since = before.failing_since or now
        reason = None
        if outcome.gone:
            reason = "the receiver answered 410: it is gone"
        elif now - since >= timedelta(hours=self._limits.failing_hours_max):
            reason = f"all attempts failed for {self._limits.failing_hours_max:g} hours"
        rests_until = self._later(now, failures, outcome) if outcome.rests and reason is None else None
        return Standing(failures, since, rests_until, reason)

    def _later(self, now: datetime, attempts: int, outcome: Outcome) -> datetime:
        """When to try again; a receiver that asks for longer than the longest wait is not heeded beyond it."""
        patience = self._limits.patience
        asked_s = min(outcome.retry_after_s or 0.0, patience.wait_s_max)
        return now + timedelta(seconds=max(patience.wait_s(attempts, self._draw()), asked_s))

    def _end_of(self, delivery: Delivery, outcome: Outcome, standing: Standing, now: datetime) -> Ended:
        found = (outcome.status, outcome.answer, outcome.error)
        if outcome.delivered:
            return Ended(DeliveryState.DELIVERED, None, *found)
        if outcome.final or self._limits.patience.is_over(delivery.tries, delivery.queued_at, now):
            return Ended(DeliveryState.DEAD, None, *found)
        # While the channel rests it goes first, so that the order is kept; else it stands aside for the others.
        due_at = standing.rests_until or self._later(now, delivery.tries, outcome)
        return Ended(DeliveryState.PENDING, due_at, *found)

    async def _sweep(self, now: datetime) -> None:
        """Give up what waited for too long, and drop what ended long ago; now and then."""
        if self._swept_at is not None and now - self._swept_at < timedelta(seconds=_SWEEP_S):
            return
        limits = self._limits
        hours_max = limits.patience.hours_max
        async with self._pool.connection() as connection:
            # What is being tried is given up by its attempt; an hour later nothing of it is left but what waits.
            before = now - timedelta(hours=hours_max + 1)
            waited = f"it waited for {hours_max:g} hours"
            expired = await expire(connection, before, now, waited, _SWEPT_MAX)
            dropped = await drop(connection, now - timedelta(days=limits.days_max), _SWEPT_MAX)
            due_at = await oldest_due(connection)
        self._metrics.set_oldest_due(0 if due_at is None else max(0.0, (now - due_at).total_seconds()))
        if max(expired, dropped) < _SWEPT_MAX:
            self._swept_at = now
