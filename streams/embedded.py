"""The embedded runner: the API's own process writes partition 0, in one thread, by group commit."""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from uuid import UUID

from domain.alerts import AlertAction, ClearByHand
from domain.clock import AnchoredClock
from domain.errors import BpmError, FencedError, StateOutdatedError
from domain.readings import IncomingBatch, Int32Array, Int64Array
from domain.receipts import OUTCOME_UNKNOWN, Mode, Receipt
from domain.tenancy import TenantId
from streams import pipeline
from streams.commands import Command
from streams.intake import Intake, Waiting
from streams.limits import RunnerLimits
from streams.live_picture import LivePicture
from streams.owner import PartitionOwner
from streams.parts import parts_of, whole_result
from streams.ports import Stage, Store
from streams.settling import settle_known

log = logging.getLogger(__name__)


class EmbeddedRunner:
    """Takes batches from the event loop and commits what has queued up, again and again, in one thread.

    A batch's state is one of: refused at the door (BusyError, InFlightError, UnavailableError), queued, in the
    group being committed, answered. An answer is given only after COMMIT.
    """

    def __init__(
        self,
        store: Store,
        limits: RunnerLimits,
        pipeline_limits: pipeline.PipelineLimits,
        clock: AnchoredClock,
        monotonic_s: Callable[[], float],
        reached: Callable[[Stage], None],
    ) -> None:
        self._store = store
        self._limits = limits
        self._pipeline_limits = pipeline_limits
        self._monotonic_s = monotonic_s
        self._intake = Intake(limits)
        self.owner = PartitionOwner(
            store, limits.owner, pipeline_limits, clock, monotonic_s, reached, self._intake
        )
        self._clock = clock
        self._commands: deque[Command] = deque()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)

    async def start(self) -> None:
        """Start the writer's thread; it takes the partition over by itself."""
        self._thread.start()

    async def stop(self) -> None:
        """Commit what is queued, save the state, and end the thread."""
        self._intake.stop()
        await asyncio.to_thread(self._thread.join, self._limits.stop_s_max)
        if self._thread.is_alive():
            log.error("the last group is still waiting for the store; it is given up, unacknowledged")

    @property
    def trouble(self) -> str | None:
        """Why readings can't be accepted now; None when they can."""
        return self.owner.trouble

    @property
    def kafka_away(self) -> bool:
        """Never: nothing goes through a topic."""
        return False

    def queued_readings(self) -> int:
        """Readings that wait to be committed."""
        return self._intake.queued_readings()

    async def picture(self) -> LivePicture:
        """The fleet as it is now. Raises UnavailableError while loading."""
        return self.owner.live.picture

    async def latest_of_packs(self, pack: Int32Array) -> tuple[Int64Array, Int32Array]:
        """Time in ms and thousandths of the latest values of n packs, [measures, n] each; NEVER_MS for none.

        Raises UnavailableError while loading.
        """
        return self.owner.latest_of_packs(pack)

    def reserve(self, tenant: TenantId, batch_id: UUID) -> None:
        """Enter an id as in flight, before anything is looked up for it. Raises InFlightError when it is."""
        self._intake.reserve(tenant, batch_id)

    def release(self, tenant: TenantId, batch_id: UUID) -> None:
        """Take back `reserve`, once the request has its answer."""
        self._intake.release(tenant, batch_id)

    async def submit(self, batch: IncomingBatch) -> Receipt:
        """The receipt of a batch, once it is committed, or was before.

        Raises BusyError (queue full), KeyReusedError (another body under the same id), RegistryChangedError
        (judge the readings again), UnavailableError (not accepted, or outcome unknown: ask again with the
        same id). The id must have been reserved; it is released when the batch has its answer.
        """
        loop = asyncio.get_running_loop()
        bulk = self._is_bulk(batch)
        first, *later = parts_of(batch, self._limits.bulk_slice_readings) if bulk else [batch]
        waiting = Waiting(first, batch, tuple(later), (), loop.create_future(), loop)
        try:
            if self.trouble is not None:
                raise self.owner.unavailable(self.trouble)
            self._intake.put(waiting, bulk=bulk)
        except BpmError:
            self.release(*waiting.whole_key)
            raise
        waiting.answer.add_done_callback(lambda _: self.release(*waiting.whole_key))
        return await asyncio.shield(waiting.answer)

    async def clear_alert(self, asked: ClearByHand) -> None:
        """Clear an open alert by hand, between two groups of the writer.

        Raises NotFoundError when it isn't open any more, UnavailableError when the store is away.
        """
        await self._command(partial(self.owner.ruling.clear, asked))

    async def act_on_alert(self, action: AlertAction, pack: int | None = None) -> None:  # noqa: ARG002 - one partition
        """Acknowledge, assign or comment an alert, between two groups of the writer.

        Raises NotFoundError when there is none, UnavailableError when the store is away.
        """
        await self._command(partial(self.owner.ruling.act, action))

    async def _command(self, work: Callable[[int], None]) -> None:
        """Have work done by the writer's thread, which gives it the time."""
        if self.trouble is not None or self._intake.stopping:
            raise self.owner.unavailable(self.trouble or "the engine is stopping")
        loop = asyncio.get_running_loop()
        command = Command(work, loop.create_future(), loop)
        self._commands.append(command)
        self._intake.wake()
        try:
            await asyncio.wait_for(asyncio.shield(command.answer), self._limits.recover_s_max)
        except TimeoutError as error:
            raise self.owner.unavailable("the writer did not come to it; look whether it was done") from error

    async def corrected(self, correction_id: UUID, wait_s: float) -> bool:
        """Whether a correction that stands in the store is done within some time; it goes on in any case."""
        done = self.owner.corrector.waiting_for(correction_id)
        self.owner.corrections_due = True
        self._intake.wake()
        try:
            await asyncio.wait_for(done.wait(), wait_s)
        except TimeoutError:
            return False
        finally:
            self.owner.corrector.stop_waiting(correction_id, done)
        return True

    def _is_bulk(self, batch: IncomingBatch) -> bool:
        if batch.mode is Mode.IMPORT:
            return True
        late_before_ms = batch.arrived_at_ms - self._pipeline_limits.late_after_s * 1000
        return len(batch.readings) >= self._limits.bulk_readings_min and bool(
            (batch.readings.ts_ms < late_before_ms).any()
        )

    # The writer's thread, from here on.

    def _run(self) -> None:
        self._take_over_until_it_works()
        while self._turn():
            pass
        self._end()

    def _turn(self) -> bool:
        """Commit what has queued up, and do what is due between groups; False when the runner is to end."""
        if not self._work():
            return False
        if not self.owner.is_loaded:
            self._take_over_until_it_works()
            return True
        try:
            self.owner.turn(self._obey)
        except StateOutdatedError as error:
            self._load_again(error)
        except FencedError as error:
            self._lose(error)
        except Exception:
            log.exception("the store failed between groups; the state is loaded again")
            self.owner.forget("the store failed; the state is being loaded again")
        return True

    def _end(self) -> None:
        self.owner.save_state()
        self._store.close()

    def _work(self) -> bool:
        """Commit what has queued up; False when there is nothing left and the runner is to stop."""
        group = self._intake.take()
        if group and self.trouble is not None:
            self._refuse(group)
        elif group:
            self._commit_or_recover(group)
        return bool(group) or not self._intake.stopping

    def _commit_or_recover(self, group: Sequence[Waiting]) -> None:
        try:
            if not self._commit_up_to_date(group, self._deadline_s(), all_known_ids=False):
                self._refuse(group)
        except FencedError as error:
            # Nothing of the group is committed.
            self._lose(error)
            if self.owner.take_over_until(self._monotonic_s()):
                self._recover(group)
            else:
                self._refuse(group, self.trouble)
        except Exception:
            # Whatever it was, the outcome is unknown (rule E9): nothing that was remembered may be trusted.
            log.exception("a group of %d batches failed; its batches are tried one by one", len(group))
            self.owner.forget("the outcome of the last commit is unknown; the state is being loaded again")
            self._recover(group)

    def _commit_up_to_date(self, group: Sequence[Waiting], deadline_s: float, *, all_known_ids: bool) -> bool:
        """Commit a group, by a state that is loaded again when it must be; False when that can't be done by then."""
        while self.owner.take_over_until(deadline_s):
            try:
                self._commit(group, all_known_ids=all_known_ids)
            except StateOutdatedError as error:
                # It is said before anything is written: nothing of the group is committed.
                self._load_again(error)
            else:
                return True
        return False

    def _load_again(self, error: StateOutdatedError) -> None:
        log.info("%s", error.detail)
        self.owner.load_again()
        self._intake.wake()

    def _lose(self, error: FencedError) -> None:
        """Whether the partition can be had again is asked of the store next, which says why not."""
        log.info("%s", error.detail)
        self.owner.forget(error.detail)

    def _deadline_s(self) -> float:
        return self._monotonic_s() + self._limits.recover_s_max

    def _commit(self, group: Sequence[Waiting], *, all_known_ids: bool) -> None:
        """One transaction for the group; answers are given only after COMMIT."""
        for waiting, answer in self.owner.commit(group, settle_known, all_known_ids=all_known_ids):
            self._answer(waiting, answer)

    def _answer(self, waiting: Waiting, answer: Receipt | BpmError) -> None:
        """Give the answer, or let the next part wait: in front, since its batch has begun."""
        if isinstance(answer, BpmError) or answer.id == waiting.whole.id:
            waiting.resolve(answer)
        elif waiting.later:
            self._intake.put_next_part(waiting.after(answer))
        else:
            receipts = (*waiting.committed, answer)
            waiting.resolve(
                whole_result(waiting.whole, receipts, self._pipeline_limits.receipt_items_max).receipt
            )

    def _recover(self, group: Sequence[Waiting]) -> None:
        """Load the state again, then each batch alone: its receipt if it was committed, else once more."""
        deadline_s = self._deadline_s()
        for position, waiting in enumerate(group):
            try:
                if not self._commit_up_to_date([waiting], deadline_s, all_known_ids=True):
                    self._refuse(group[position:])
                    return
            except Exception:
                log.exception("batch %s failed alone", waiting.batch.id)
                self.owner.forget("the last batch failed; the state is being loaded again")
                self._refuse([waiting])

    def _refuse(self, group: Sequence[Waiting], why: str | None = None) -> None:
        """why: None when it isn't known whether they are committed."""
        for waiting in group:
            waiting.resolve(self.owner.unavailable(why or OUTCOME_UNKNOWN))

    def _obey(self) -> None:
        """Carry out what was commanded; a command that can't be done leaves all as it was."""
        while self._commands:
            command = self._commands.popleft()
            try:
                command.work(self._clock.now_ms())
            except StateOutdatedError:
                self._commands.appendleft(command)
                raise
            except BpmError as error:
                command.settle(error)
            except Exception:
                command.settle(self.owner.unavailable("the store failed; ask again"))
                raise
            else:
                command.settle(None)

    def _take_over_until_it_works(self) -> None:
        """Take the partition over, however long the store is away; batches are refused meanwhile."""
        while not self._intake.stopping and not self.owner.take_over_until(self._deadline_s()):
            self._refuse(self._intake.drain())
