"""The embedded runner: the API's own process writes partition 0, in one thread, by group commit."""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final
from uuid import UUID

import numpy as np

from domain.alerts import AlertAction, ClearByHand
from domain.clock import AnchoredClock
from domain.errors import (
    BpmError,
    ConflictError,
    KeyReusedError,
    RegistryChangedError,
    UnavailableError,
)
from domain.readings import BatchResult, IncomingBatch, Int32Array, Int64Array
from domain.receipts import Mode, Receipt
from domain.tenancy import TenantId, TenantVersions
from streams import pipeline
from streams.commands import Command
from streams.corrector import Corrector
from streams.intake import Intake, Waiting
from streams.limits import RunnerLimits
from streams.live import Live
from streams.parts import parts_of, whole_result
from streams.ports import Group, Stage, Store
from streams.ruling import Ruling
from streams.state import LatestValue, State

log = logging.getLogger(__name__)

_RETRY_WAIT_S: Final = 0.2
_CHECK_S: Final = 1.0


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
        self._clock = clock
        self._clock_confirmed_at_ms: int | None = None
        self._monotonic_s = monotonic_s
        self._reached = reached
        self._intake = Intake(limits)
        self._state: State | None = None
        self._trouble: str | None = "the state has not been loaded yet"
        self._corrector = Corrector(store, limits.correction_slice_readings)
        self._corrections_due = True
        self._ruling = Ruling(store)
        self.live = Live(store, limits.silent_after_s, limits.skew_s_max, limits.retry_after_s)
        self._up_since_ms = 0
        self._commands: deque[Command] = deque()
        self._saved_at_s = 0.0
        self._checked_at_s = 0.0
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)

    def start(self) -> None:
        """Start the writer's thread; it takes the partition over by itself."""
        self._thread.start()

    def stop(self) -> None:
        """Commit what is queued, save the state, and end the thread."""
        self._intake.stop()
        self._thread.join(self._limits.stop_s_max)
        if self._thread.is_alive():
            log.error("the last group is still waiting for the store; it is given up, unacknowledged")

    @property
    def trouble(self) -> str | None:
        """Why readings can't be accepted now; None when they can."""
        return self._trouble

    def queued_readings(self) -> int:
        """Readings that wait to be committed."""
        return self._intake.queued_readings()

    def latest_of(self, pack: int) -> list[LatestValue | None]:
        """A pack's latest values by measure, from committed readings. Raises UnavailableError while loading."""
        return self._loaded().latest_of(pack)

    def latest_of_packs(self, pack: Int32Array) -> tuple[Int64Array, Int32Array]:
        """Time in ms and thousandths of the latest values of n packs, [measures, n] each; NEVER_MS for none.

        Raises UnavailableError while loading.
        """
        return self._loaded().latest_of_packs(pack)

    def _loaded(self) -> State:
        state = self._state
        if state is None:
            raise self._unavailable(self._trouble or "the state is being loaded")
        return state

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
            if self._trouble is not None:
                raise self._unavailable(self._trouble)
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
        await self._command(partial(self._ruling.clear, asked))

    async def act_on_alert(self, action: AlertAction) -> None:
        """Acknowledge, assign or comment an alert, between two groups of the writer.

        Raises NotFoundError when there is none, UnavailableError when the store is away.
        """
        await self._command(partial(self._ruling.act, action))

    async def _command(self, work: Callable[[int], None]) -> None:
        """Have work done by the writer's thread, which gives it the time."""
        if self._trouble is not None or self._intake.stopping:
            raise self._unavailable(self._trouble or "the engine is stopping")
        loop = asyncio.get_running_loop()
        command = Command(work, loop.create_future(), loop)
        self._commands.append(command)
        self._intake.wake()
        try:
            await asyncio.wait_for(asyncio.shield(command.answer), self._limits.recover_s_max)
        except TimeoutError as error:
            raise self._unavailable("the writer did not come to it; look whether it was done") from error

    async def corrected(self, correction_id: UUID, wait_s: float) -> bool:
        """Whether a correction that stands in the store is done within some time; it goes on in any case."""
        done = self._corrector.waiting_for(correction_id)
        self._corrections_due = True
        self._intake.wake()
        try:
            await asyncio.wait_for(done.wait(), wait_s)
        except TimeoutError:
            return False
        finally:
            self._corrector.stop_waiting(correction_id, done)
        return True

    def _is_bulk(self, batch: IncomingBatch) -> bool:
        if batch.mode is Mode.IMPORT:
            return True
        late_before_ms = batch.arrived_at_ms - self._pipeline_limits.late_after_s * 1000
        return len(batch.readings) >= self._limits.bulk_readings_min and bool(
            (batch.readings.ts_ms < late_before_ms).any()
        )

    def _unavailable(self, why: str) -> UnavailableError:
        return UnavailableError(why, retry_after_s=self._limits.retry_after_s)

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
        try:
            self._between_groups()
        except Exception:
            log.exception("the store failed between groups; the state is loaded again")
            self._forget("the store failed; the state is being loaded again")
        return True

    def _end(self) -> None:
        self._save_state()
        self._store.close()

    def _work(self) -> bool:
        """Commit what has queued up; False when there is nothing left and the runner is to stop."""
        group = self._intake.take()
        if group and self._state is None:
            self._refuse(group)
        elif group:
            self._commit_or_recover(group)
        return bool(group) or not self._intake.stopping

    def _commit_or_recover(self, group: Sequence[Waiting]) -> None:
        try:
            self._commit(group, all_known_ids=False)
        except Exception:
            # Whatever it was, the outcome is unknown (rule E9): nothing that was remembered may be trusted.
            log.exception("a group of %d batches failed; its batches are tried one by one", len(group))
            self._forget("the outcome of the last commit is unknown; the state is being loaded again")
            self._recover(group)

    def _commit(self, group: Sequence[Waiting], *, all_known_ids: bool) -> None:
        """One transaction for the group. State changes, and answers are given, only after COMMIT."""
        state = self._required_state()
        self._store.prepare_days(np.concatenate([waiting.batch.readings.ts_ms for waiting in group]))
        answers: list[tuple[Waiting, Receipt | BpmError]] = []
        outcome = ruled = None
        with self._store.group() as transaction:
            versions = transaction.tenant_versions(sorted({waiting.batch.tenant_id for waiting in group}))
            pending = _settle_known(group, transaction, versions, answers, all_ids=all_known_ids)
            if pending:
                batches = [waiting.batch for waiting in pending]
                found = transaction.find(pipeline.plan(batches, state))
                outcome = pipeline.decide(batches, found, self._pipeline_limits)
                self._ruling.prepare(transaction, versions, outcome.live, self._clock.now_ms())
                receipts = [result.receipt for result in outcome.results]
                wholes = self._completed(pending, receipts)
                transaction.write(replace(outcome, results=(*outcome.results, *wholes)))
                ruled = self._ruling.run(transaction, outcome)
                answers += zip(pending, receipts, strict=True)
            self._reached(Stage.BEFORE_COMMIT)
        self._reached(Stage.AFTER_COMMIT)
        if outcome is not None and ruled is not None:
            state.apply(outcome.rows)
            self._ruling.apply(ruled)
            self.live.committed(state, outcome.live, self._ruling.take_happened(), self._clock.now_ms())
        for waiting, answer in answers:
            self._answer(waiting, answer)

    def _completed(self, pending: Sequence[Waiting], receipts: Sequence[Receipt]) -> list[BatchResult]:
        """The batches of which the last part is among these; their rows are written with it."""
        items_max = self._pipeline_limits.receipt_items_max
        return [
            whole_result(waiting.whole, (*waiting.committed, receipt), items_max)
            for waiting, receipt in zip(pending, receipts, strict=True)
            if waiting.is_last_part
        ]

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
        deadline_s = self._monotonic_s() + self._limits.recover_s_max
        for position, waiting in enumerate(group):
            if not self._take_over_until(deadline_s):
                self._refuse(group[position:])
                return
            try:
                self._commit([waiting], all_known_ids=True)
            except Exception:
                log.exception("batch %s failed alone", waiting.batch.id)
                self._forget("the last batch failed; the state is being loaded again")
                self._refuse([waiting])

    def _refuse(self, group: Sequence[Waiting]) -> None:
        for waiting in group:
            waiting.resolve(
                self._unavailable("the outcome is unknown: ask again with the same Idempotency-Key")
            )

    def _required_state(self) -> State:
        if self._state is None:
            raise UnavailableError("the state is not loaded")
        return self._state

    def _forget(self, why: str) -> None:
        self._state = None
        self.live.forget()
        self._corrector.forget()
        self._corrections_due = True
        self._trouble = why

    def _between_groups(self) -> None:
        if self._state is None:
            self._take_over_until_it_works()
            return
        now_s = self._monotonic_s()
        if now_s - self._checked_at_s >= _CHECK_S:
            self._checked_at_s = now_s
            self._store.check()
            self._follow_clock()
            self._close_quarters()
            self._time_out()
            self.live.follow_holders(self._state)
        self._obey()
        self._correct(self._state)
        if self._state is not None:
            self.live.turn(self._state, self._ruling.take_happened(), self._clock.now_ms())
        if now_s - self._saved_at_s >= self._limits.save_state_s:
            self._save_state()

    def _time_out(self) -> None:
        """Ask which packs have been silent too long, unless readings wait or the clock is in doubt (rule E19)."""
        now_ms = self._clock.now_ms()
        if self._clock.jumped_by_ms is None and self.queued_readings() == 0:
            self._ruling.time_out(now_ms, self._up_since_ms)

    def _obey(self) -> None:
        """Carry out what was commanded; a command that can't be done leaves all as it was."""
        while self._commands:
            command = self._commands.popleft()
            try:
                command.work(self._clock.now_ms())
            except BpmError as error:
                command.settle(error)
            except Exception:
                command.settle(self._unavailable("the store failed; ask again"))
                raise
            else:
                command.settle(None)

    def _correct(self, state: State) -> None:
        """Do a slice of the corrections that wait, if any."""
        if not self._corrections_due:
            return
        self._corrections_due = False
        ready = self._corrector.step(state)
        if self._corrector.pending:
            self._corrections_due = True
            self._intake.wake()
        if ready is not None:
            # Latest values that were put right must not come back after a restart.
            self._save_state()
            if self._state is not None:
                self._corrector.finish(ready)

    def _take_over_until_it_works(self) -> None:
        """Take the partition over, however long the store is away; batches are refused meanwhile."""
        while not self._intake.stopping and not self._take_over_until(
            self._monotonic_s() + self._limits.recover_s_max
        ):
            self._refuse(self._intake.drain())

    def _take_over_until(self, deadline_s: float) -> bool:
        """Whether the partition is ours and its state loaded, by then. Tries at least once."""
        while self._state is None:
            try:
                self._store.take_over()
                state = State.restored(*self._store.load())
                state.mark_corrected(self._store.corrected_packs())
                self.live.load(state, self._ruling.load(), self._clock.now_ms())
                self._state = state
                self._up_since_ms = self._clock.now_ms()
                self._check_clock_against_store()
                self._prepare_days_ahead()
            except Exception as error:  # noqa: BLE001 - whatever it is, the partition isn't ours
                # Another's words go to the log alone: they may name hosts and statements.
                why = error.detail if isinstance(error, BpmError) else type(error).__name__
                trouble = f"the store can't be used: {why}"
                if trouble != self._trouble:
                    log.warning("%s: %s", trouble, error)
                self._forget(trouble)
                if not self._intake.pause(_RETRY_WAIT_S, lambda: self._monotonic_s() >= deadline_s):
                    return False
        self._trouble = None
        return True

    def _save_state(self) -> None:
        if self._state is None:
            return
        self._saved_at_s = self._monotonic_s()
        clocks = self._ruling.touched()
        # A pack of which only readings were set aside so far has a rule clock and no state.
        touched = self._state.touched(clocks.pack)
        if len(touched.pack) == 0:
            return
        try:
            self._store.save_state(touched, clocks, self.live.arrivals_of(clocks.pack))
        except Exception:
            log.exception("saving the state failed; it is loaded again")
            self._forget("saving the state failed; it is being loaded again")
        else:
            self._state.saved(touched)
            self._ruling.saved(clocks)
            self._prepare_days_ahead()

    def _prepare_days_ahead(self) -> None:
        """Make the coming days' partitions, if that can be done now; a reading that needs one makes it too."""
        try:
            self._store.prepare_days_ahead(self._clock.now_ms())
        except Exception as error:  # noqa: BLE001 - whatever it is, today's partition is there
            log.warning("the coming days can't be prepared now: %s", error)

    def _check_clock_against_store(self) -> None:
        self._clock_confirmed_at_ms = self._store.clock_confirmed_at_ms()
        latest = self._store.latest_arrival_ms()
        if latest is not None and latest - self._clock.now_ms() > self._clock.jump_ms_max:
            self._clock.require_confirmation(self._clock.now_ms() - latest)

    def _close_quarters(self) -> None:
        """Move the closing mark; an unconfirmed clock moves nothing (rule E6)."""
        now_ms = self._clock.now_ms()
        if self._clock.jumped_by_ms is None:
            self._store.close_quarters(now_ms, self._limits.close_after_s)

    def _follow_clock(self) -> None:
        """Accept the wall clock after a jump as soon as the operator has confirmed it in the store."""
        if self._clock.jumped_by_ms is None:
            return
        confirmed = self._store.clock_confirmed_at_ms()
        if confirmed != self._clock_confirmed_at_ms:
            self._clock_confirmed_at_ms = confirmed
            self._clock.confirm()
            log.warning("the wall clock was confirmed; live readings are accepted again")


def _settle_known(
    group: Sequence[Waiting],
    transaction: Group,
    versions: Mapping[TenantId, TenantVersions],
    answers: list[tuple[Waiting, Receipt | BpmError]],
    *,
    all_ids: bool,
) -> list[Waiting]:
    """Answer what was committed before or must be judged again; returns the rest."""
    keys = {waiting.key for waiting in group if all_ids or waiting.batch.body_hash or waiting.batch.part_of}
    # The first part looks for its whole batch, which is there when all of it was committed before.
    keys |= {waiting.whole_key for waiting in group if waiting.batch.part_of and not waiting.committed}
    committed = transaction.committed(sorted(keys))
    undone = transaction.undone_imports(
        sorted({waiting.batch.import_id for waiting in group if waiting.batch.import_id is not None})
    )
    rest = []
    for waiting in group:
        known = committed.get(waiting.whole_key) or committed.get(waiting.key)
        if known is not None and known.body_hash != waiting.batch.body_hash:
            answers.append((waiting, KeyReusedError("this Idempotency-Key was used with another body")))
        elif known is not None:
            answers.append((waiting, known.receipt))
        elif waiting.batch.import_id in undone:
            answers.append((waiting, ConflictError("the import was undone", field="import")))
        elif versions[waiting.batch.tenant_id].registry != waiting.batch.registry_version:
            answers.append((waiting, RegistryChangedError("packs or tenures changed meanwhile")))
        else:
            rest.append(waiting)
    return rest
