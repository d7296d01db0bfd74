"""The owner of one partition: what it remembers, how it commits a group, and what is due between groups."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol, TypeVar
from uuid import UUID

import numpy as np

from domain.clock import AnchoredClock
from domain.errors import BpmError, FencedError, StateOutdatedError, UnavailableError
from domain.readings import BatchResult, IncomingBatch, Int32Array, Int64Array
from domain.receipts import Receipt
from domain.tenancy import TenantId, TenantVersions
from streams import pipeline
from streams.corrector import Corrector
from streams.limits import OwnerLimits
from streams.live import Live
from streams.parts import whole_result
from streams.ports import Group, Stage, Store
from streams.ruling import Ruling
from streams.state import State

log = logging.getLogger(__name__)

One = TypeVar("One", bound="Submitted")

_RETRY_WAIT_S: Final = 0.2
_CHECK_S: Final = 1.0


class Submitted(Protocol):
    """A batch that is to be committed, or a part of one; `committed` has the receipts of the parts before."""

    @property
    def batch(self) -> IncomingBatch: ...

    @property
    def whole(self) -> IncomingBatch: ...

    @property
    def committed(self) -> tuple[Receipt, ...]: ...

    @property
    def is_last_part(self) -> bool: ...

    @property
    def key(self) -> tuple[TenantId, UUID]: ...

    @property
    def whole_key(self) -> tuple[TenantId, UUID]: ...


class Settle(Protocol[One]):
    """Says what of a group is left to be committed, and gives the answers of the rest."""

    def __call__(
        self,
        group: Sequence[One],
        transaction: Group,
        versions: Mapping[TenantId, TenantVersions],
        *,
        all_ids: bool,
    ) -> tuple[list[One], list[tuple[One, Receipt | BpmError]]]: ...


class Surroundings(Protocol):
    """What the runner around an owner knows."""

    def is_idle(self) -> bool:
        """Whether no reading waits, as far as is known."""
        ...

    def pause(self, seconds: float, give_up: Callable[[], bool]) -> bool:
        """Wait a while; False, at once, when stopping or giving up."""
        ...

    def wake(self) -> None:
        """Let the next turn come at once: there is other work."""
        ...


class PartitionOwner:
    """Belongs to one thread at a time, but for `live.picture`, `latest_of_packs` and `trouble`.

    Everything that it remembers follows from the store (rule E12); `forget` and `take_over_until` bring it back.
    """

    def __init__(
        self,
        store: Store,
        limits: OwnerLimits,
        pipeline_limits: pipeline.PipelineLimits,
        clock: AnchoredClock,
        monotonic_s: Callable[[], float],
        reached: Callable[[Stage], None],
        surroundings: Surroundings,
    ) -> None:
        self._store = store
        self._limits = limits
        self._pipeline_limits = pipeline_limits
        self._clock = clock
        self._clock_confirmed_at_ms: int | None = None
        self._monotonic_s = monotonic_s
        self._reached = reached
        self._surroundings = surroundings
        self._state: State | None = None
        self._shown: State | None = None
        self.trouble: str | None = "the state has not been loaded yet"
        """Why readings can't be accepted now; None when they can."""
        self.corrector = Corrector(store, limits.correction_slice_readings)
        self.corrections_due = True
        self.ruling = Ruling(store)
        self.live = Live(store, limits.silent_after_s, limits.skew_s_max, limits.retry_after_s)
        self._up_since_ms = 0
        self._saved_at_s = 0.0
        self._checked_at_s = 0.0

    @property
    def is_loaded(self) -> bool:
        """Whether the state is that of the last commit."""
        return self._state is not None

    def latest_of_packs(self, pack: Int32Array) -> tuple[Int64Array, Int32Array]:
        """Time in ms and thousandths of the latest values of n packs, [measures, n] each; NEVER_MS for none.

        Raises UnavailableError while loading.
        """
        return self._loaded().latest_of_packs(pack)

    def _loaded(self) -> State:
        """What was loaded last, which may be about to be loaded again."""
        state = self._shown
        if state is None:
            raise self.unavailable(self.trouble or "the state is being loaded")
        return state

    def unavailable(self, why: str) -> UnavailableError:
        """The error that says so, and when to ask again."""
        return UnavailableError(why, retry_after_s=self._limits.retry_after_s)

    # Of the owner's thread, from here on.

    def commit(
        self, group: Sequence[One], settle: "Settle[One]", *, all_known_ids: bool, until: int | None = None
    ) -> list[tuple[One, Receipt | BpmError]]:
        """One transaction for the group; gives each answer after COMMIT, when the state has changed too.

        settle: what of the group is left to be committed, and the answers of the rest. until: the position behind
        the group, where it is given by a log; None where the engine counts its groups.
        Any error means that the outcome is unknown (rule E9): `forget`, and take over again.
        """
        state = self._required_state()
        readings = [one.batch.readings for one in group]
        self._store.prepare_days(
            np.concatenate([one.tenant for one in readings]), np.concatenate([one.ts_ms for one in readings])
        )
        outcome = ruled = None
        with self._store.group(until) as transaction:
            versions = transaction.tenant_versions(sorted({one.batch.tenant_id for one in group}))
            pending, answers = settle(group, transaction, versions, all_ids=all_known_ids)
            if pending:
                batches = [one.batch for one in pending]
                found = transaction.find(pipeline.plan(batches, state))
                outcome = pipeline.decide(batches, found, self._pipeline_limits)
                self.ruling.prepare(transaction, versions, outcome.live, self._clock.now_ms())
                receipts = [result.receipt for result in outcome.results]
                wholes = self._completed(pending, receipts)
                transaction.write(replace(outcome, results=(*outcome.results, *wholes)))
                ruled = self.ruling.run(transaction, outcome)
                answers += zip(pending, receipts, strict=True)
            self._reached(Stage.BEFORE_COMMIT)
        self._reached(Stage.AFTER_COMMIT)
        if outcome is not None and ruled is not None:
            state.apply(outcome.rows)
            self.ruling.apply(ruled)
            self.live.committed(state, outcome.live, self.ruling.take_happened(), self._clock.now_ms())
        return answers

    def _completed(self, pending: Sequence[Submitted], receipts: Sequence[Receipt]) -> list[BatchResult]:
        """The batches of which the last part is among these; their rows are written with it."""
        items_max = self._pipeline_limits.receipt_items_max
        return [
            whole_result(one.whole, (*one.committed, receipt), items_max)
            for one, receipt in zip(pending, receipts, strict=True)
            if one.is_last_part
        ]

    def _required_state(self) -> State:
        if self._state is None:
            raise UnavailableError("the state is not loaded")
        return self._state

    def forget(self, why: str) -> None:
        """Trust nothing that is remembered."""
        self.load_again()
        self._shown = None
        self.live.forget()
        self.trouble = why

    def load_again(self) -> None:
        """Commit nothing by what is remembered; until it is loaded again, it is shown as it was."""
        self._state = None
        self.corrector.forget()
        self.corrections_due = True

    def turn(self, obey: Callable[[], None]) -> None:
        """What is due between groups: the clock, closing, timers, what was asked for, corrections, saving.

        obey: carries out what people asked for. Any error means that the state is to be forgotten.
        """
        state = self._required_state()
        now_s = self._monotonic_s()
        if now_s - self._checked_at_s >= _CHECK_S:
            self._checked_at_s = now_s
            self._store.check()
            self._follow_clock()
            self._close_quarters()
            self._time_out()
            self.live.follow_holders(state)
        obey()
        self._correct(state)
        if self._state is not None:
            self.live.turn(state, self.ruling.take_happened(), self._clock.now_ms())
        if now_s - self._saved_at_s >= self._limits.save_state_s:
            self.save_state()

    def _time_out(self) -> None:
        """Ask which packs have been silent too long, unless readings wait or the clock is in doubt (rule E19)."""
        now_ms = self._clock.now_ms()
        if self._clock.jumped_by_ms is None and self._surroundings.is_idle():
            self.ruling.time_out(now_ms, self._up_since_ms)

    def _correct(self, state: State) -> None:
        """Do a slice of the corrections that wait, if any."""
        if not self.corrections_due:
            return
        self.corrections_due = False
        ready = self.corrector.step(state)
        if self.corrector.pending:
            self.corrections_due = True
            self._surroundings.wake()
        if ready is not None:
            # Latest values that were put right must not come back after a restart.
            self.save_state()
            if self._state is not None:
                self.corrector.finish(ready)

    def take_over_until(self, deadline_s: float, take_over: Callable[[], None] | None = None) -> bool:
        """Whether the partition is ours and its state loaded, by then. Tries at least once.

        take_over: what makes it ours, by default by raising its epoch. Another way may find that it isn't ours any
        more, and raise FencedError, which ends the tries.
        """
        while self._state is None:
            try:
                (take_over or self._store.take_over)()
                state = State.restored(*self._store.load())
                state.mark_corrected(self._store.corrected_packs())
                self.live.load(state, self.ruling.load(), self._clock.now_ms())
                self._state = self._shown = state
                self._up_since_ms = self._clock.now_ms()
                self._check_clock_against_store()
                self._prepare_days_ahead()
            except Exception as error:
                if take_over is not None and isinstance(error, FencedError):
                    raise
                # Another's words go to the log alone: they may name hosts and statements.
                ours = error.detail if isinstance(error, BpmError) else None
                trouble = f"the store can't be used: {ours or type(error).__name__}"
                if trouble != self.trouble:
                    log.warning("%s", trouble if ours else f"{trouble}: {error}")
                self.forget(trouble)
                if not self._surroundings.pause(_RETRY_WAIT_S, lambda: self._monotonic_s() >= deadline_s):
                    return False
        self.trouble = None
        return True

    def save_state(self) -> None:
        if self._state is None:
            return
        self._saved_at_s = self._monotonic_s()
        clocks = self.ruling.touched()
        # A pack of which only readings were set aside so far has a rule clock and no state.
        touched = self._state.touched(clocks.pack)
        if len(touched.pack) == 0:
            return
        try:
            self._store.save_state(touched, clocks, self.live.arrivals_of(clocks.pack))
        except StateOutdatedError as error:
            log.info("%s", error.detail)
            self.load_again()
        except FencedError as error:
            log.info("%s", error.detail)
            self.forget(error.detail)
        except Exception:
            log.exception("saving the state failed; it is loaded again")
            self.forget("saving the state failed; it is being loaded again")
        else:
            self._state.saved(touched)
            self.ruling.saved(clocks)
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
