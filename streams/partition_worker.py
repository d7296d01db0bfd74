"""One partition of a topic in a worker: its owner in a thread of its own, and what happens when it is taken away."""

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from domain.clock import AnchoredClock
from domain.errors import (
    BpmError,
    FencedError,
    MessageMisdirectedError,
    NotFoundError,
    PartitionRevokedError,
    PositionLostError,
    StateOutdatedError,
    UnavailableError,
)
from domain.log_ends import Ends
from streams.limits import OwnerLimits
from streams.owner import PartitionOwner
from streams.pipeline import PipelineLimits
from streams.ports import LogStore, Stage
from streams.settling import Delivered, settle_in_log

log = logging.getLogger(__name__)

T = TypeVar("T")

_RETRY_S: Final = 0.2
_STEPS_A_TURN_MAX: Final = 4
"""Slices of a correction that messages wait for at most."""
_TRIES_MAX: Final = 3
"""Tries of a batch that fails by itself, while the store answers; then it is a dead letter."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A message that can't be committed, and why."""

    position: int
    error: Exception


@dataclass(frozen=True, slots=True)
class Passed:
    """Positions of the log, the first and the last, at which there is nothing to commit.

    There stand markers of transactions, and messages of those that were aborted.
    """

    first: int
    position: int


class Aside(Protocol):
    """Where messages go that can't be committed."""

    def __call__(self, position: int, error: BpmError | Exception) -> None:
        """Put a message aside; returns when that is durable. Raises UnavailableError when it can't be done now.

        Raises PartitionRevokedError when it can't be done, and the partition is to be let go of.
        """
        ...


class PartitionWorker:
    """Owns a partition from `take_over` until another worker does.

    What it may not do is guarded by the store (rules E7, E8): every commit compares epoch and position.
    """

    def __init__(
        self,
        partition_no: int,
        store: LogStore,
        limits: OwnerLimits,
        pipeline_limits: PipelineLimits,
        clock: AnchoredClock,
        monotonic_s: Callable[[], float],
        reached: Callable[[Stage], None],
    ) -> None:
        self.partition_no = partition_no
        self.store = store
        self._clock = clock
        self._monotonic_s = monotonic_s
        self.owner = PartitionOwner(store, limits, pipeline_limits, clock, monotonic_s, reached, self)
        self.refused: str | None = None
        """Why the partition isn't worked on though it is assigned: its position isn't in the log."""
        self.lost = True
        """Whether another worker may have taken over since `take_over`."""
        self.lost_s: float | None = None
        """When it was seen that another worker has taken over, on the monotonic clock; None while that isn't so."""
        self.seen_behind = 0
        """Behind the last message that was handed in."""
        self.log_end = 0
        """The end of the log, as far as it is known."""
        self.arrived_ms: int | None = None
        """When the last batch arrived that this worker has committed; None before."""
        self.newest_ms: int | None = None
        """The largest time of a reading that this worker has committed; None before."""
        self.busy = False
        """Whether the owner's thread is at work."""
        self._awake = False
        self._stopping = threading.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"partition {partition_no}")

    async def in_thread(self, work: Callable[..., T], *given: object) -> T:
        """Work of the owner's thread."""

        def watched() -> T:
            self.busy = True
            try:
                return work(*given)
            finally:
                self.busy = False

        return await asyncio.get_running_loop().run_in_executor(self._thread, watched)

    # What the owner asks of its surroundings.

    def is_idle(self) -> bool:
        """Whether all of the log, as far as it is known, is committed."""
        return self.store.position >= self.log_end

    def pause(self, seconds: float, give_up: Callable[[], bool]) -> bool:
        """Wait a while; False, at once, when stopping or giving up."""
        return not give_up() and not self._stopping.wait(seconds)

    def wake(self) -> None:
        """Let the next turn follow this one: there is other work."""
        self._awake = True

    # Of the owner's thread.

    def take_over(self) -> int:
        """Take the partition over, unless it is ours still; gives the position at which to go on.

        Tries until it works, or until stopping; then it is nobody's, and nothing of it is committed.
        """
        while True:
            try:
                if self.owner.is_loaded and not self.lost and self.store.is_ours():
                    break
            except Exception as error:  # noqa: BLE001 - it is taken over anew
                log.warning("partition %d: %s", self.partition_no, error)
            self.owner.forget("the partition is being taken over")
            if self.owner.take_over_until(float("inf")):
                break
            if self._stopping.is_set():
                return self.store.position
        self.lost, self.lost_s, self.refused = False, None, None
        return self.store.position

    def compare(self, ends: Ends) -> None:
        """Compare the position with the log as it was found after `take_over`: before, others could still commit.

        Raises PositionLostError when the log doesn't have the position.
        """
        position = self.store.position
        self.log_end = max(ends.behind, position)
        lost = ends.lost(position)
        self.refused = None if lost is None else lost.why
        if self.refused is not None:
            raise PositionLostError(self.refused)

    def commit(self, messages: Sequence[Delivered | Unreadable | Passed], aside: Aside) -> None:
        """Commit messages, however long the store is away, or no dead letter can be made.

        Returns early when the partition was taken away. Raises PositionLostError when messages before them were never
        seen, PartitionRevokedError when the partition is to be let go of while a dead letter can't be made.
        """
        left = list(messages)
        tries = 0
        while left and not self.lost and self.refused is None and not self._stopping.is_set():
            try:
                if not self.owner.is_loaded:
                    self._come_back()
                left = [one for one in left if one.position >= self.store.position]
                if left:
                    self._require_next(left[0])
                    self._commit_first(left, aside, alone=tries > 0)
                    tries = min(tries, 1)
            except FencedError as error:
                self._lose(error)
            except PositionLostError as error:
                self.refused = error.detail
                raise
            except StateOutdatedError as error:
                self._load_again(error)
            except PartitionRevokedError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is
                # The outcome is unknown (rule E9): the state is loaded again, and the messages are tried one by one.
                self._say(f"a group of {len(left)} messages failed", error)
                self.owner.forget(
                    "the outcome of the last commit is unknown; the state is being loaded again"
                )
                tries += 1
                if not self.store.is_about_data(error):
                    tries = 1
                elif tries > (1 if isinstance(error, MessageMisdirectedError) else _TRIES_MAX):
                    left[0] = Unreadable(left[0].position, error)
                self._stopping.wait(_RETRY_S)

    def _require_next(self, one: Delivered | Unreadable | Passed) -> None:
        position = one.first if isinstance(one, Passed) else one.position
        if position > self.store.position:
            raise PositionLostError(f"it is at {self.store.position}, and the next message is {position}")

    def _commit_first(
        self, left: Sequence[Delivered | Unreadable | Passed], aside: Aside, *, alone: bool
    ) -> None:
        """Commit what comes before the next unreadable message or gap, or pass over that when it is the first."""
        first = left[0]
        if not isinstance(first, Delivered):
            if isinstance(first, Passed) or self._is_put_aside(first, aside):
                with self.store.group(first.position + 1):
                    pass
            return
        group = [first]
        for one in () if alone else left[1:]:
            if not isinstance(one, Delivered):
                break
            group.append(one)
        self.owner.commit(group, settle_in_log, all_known_ids=True, until=group[-1].position + 1)
        self.arrived_ms = group[-1].batch.arrived_at_ms
        times = [int(one.batch.readings.ts_ms.max()) for one in group if len(one.batch.readings)]
        self.newest_ms = max([*times, *([] if self.newest_ms is None else [self.newest_ms])], default=None)

    def _is_put_aside(self, one: Unreadable, aside: Aside) -> bool:
        """Whether a message is put aside. While it can't be, others may take the partition over: then FencedError."""
        try:
            aside(one.position, one.error)
        except UnavailableError:
            self._stopping.wait(_RETRY_S)
            self.store.check()
            return False
        return True

    def _come_back(self) -> None:
        """Load the state again under the epoch that this worker has. Raises FencedError when that was raised."""
        if not self.owner.take_over_until(float("inf"), self.store.come_back):
            self._stopping.wait(_RETRY_S)

    def _lose(self, error: FencedError) -> None:
        log.warning("partition %d: %s", self.partition_no, error.detail)
        self.owner.forget("another worker has taken the partition over")
        self.lost, self.lost_s = True, self._monotonic_s()

    def _load_again(self, error: StateOutdatedError) -> None:
        log.info("partition %d: %s", self.partition_no, error.detail)
        self.owner.forget(error.detail)

    def turn(self) -> None:
        """What is due between groups; of a refused partition to see whether its loss was accepted, by its epoch."""
        if self.lost or self._stopping.is_set():
            return
        try:
            if not self.owner.is_loaded:
                self._come_back()
                return
            if self.refused is not None:
                self.store.check()
                return
            for _ in range(_STEPS_A_TURN_MAX):
                self._awake = False
                # Other processes ask for corrections in the store, and nobody tells.
                self.owner.corrections_due = True
                self.owner.turn(self._obey)
                if not self._awake or not self.owner.is_loaded:
                    break
        except FencedError as error:
            self._lose(error)
        except StateOutdatedError as error:
            self._load_again(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the state is loaded again
            self._say("the store failed between groups", error)
            self.owner.forget("the store failed; the state is being loaded again")

    def _say(self, what: str, error: Exception) -> None:
        """Log an error: in full, unless it only says that the store is away, or refuses what it knows."""
        known = isinstance(error, BpmError) or not self.store.is_about_data(error)
        log.error("partition %d: %s: %s", self.partition_no, what, error, exc_info=None if known else error)

    def _obey(self) -> None:
        """Clear the alerts that people clear; nothing changes for one that isn't open any more."""
        for asked in self.store.clearances():
            try:
                self.owner.ruling.clear(asked, self._clock.now_ms())
            except NotFoundError:
                self.store.answer_clearance(asked)

    def stop(self) -> None:
        """Let what is being done end soon, and nothing begin."""
        self._stopping.set()

    def cancel(self, wait_s_max: float) -> None:
        """From any thread: have the server end the statement that the owner's thread waits for, if there is one."""
        try:
            self.store.cancel(wait_s_max)
        except Exception as error:  # noqa: BLE001 - whoever hangs may not hold up who gives up on it
            log.warning("partition %d: its statement can't be cancelled: %s", self.partition_no, error)

    def end(self) -> None:
        """Save the state and let go of the store; after `stop`."""
        try:
            if not self.lost and self.owner.is_loaded:
                self.owner.save_state()
        except Exception:
            log.exception("partition %d: its state could not be saved", self.partition_no)
        self.store.close()

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False)
