"""The engine equals a naive model of dictionaries, step by step; and a broken engine does not."""

import logging
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing import get_context
from typing import Any

import psycopg
import pytest

from api.database_access import DatabaseAccess
from domain.readings import Outcome
from storage import correcting, counting, partition
from storage.counting import CountingStore
from storage.group import NoteRule
from storage.partition_queries import PartitionQueries
from storage.transactions import Transaction
from streams import owner, pipeline
from streams.owner import PartitionOwner
from streams.state import State
from tests.model.driver import Contradiction
from tests.model.play import run, run_quietly

STEPS, ROUNDS = 10_000, 2
STEPS_OF_FIXED_SEED = 300
STEPS_TO_FIND = 400


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """The engine tells of every fault that is made on purpose."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.timeout(900)
def test_engine_equals_the_naive_model(own_database: Callable[[], DatabaseAccess]) -> None:
    """In two installations at once, because a step keeps either the engine or its database busy."""
    seeds = [secrets.randbelow(1_000_000_000) for _ in range(ROUNDS)]
    for seed in seeds:
        print(f"again: python -m tests.model --steps {STEPS // ROUNDS} --seed {seed}")
    with ProcessPoolExecutor(ROUNDS, mp_context=get_context("spawn")) as processes:
        rounds = [processes.submit(run_quietly, own_database(), seed, STEPS // ROUNDS) for seed in seeds]
        for one in rounds:
            one.result()


def test_engine_equals_the_naive_model_for_a_fixed_seed(own_database: Callable[[], DatabaseAccess]) -> None:
    run(own_database(), 4, STEPS_OF_FIXED_SEED)


Patch = pytest.MonkeyPatch


def skip_notes(patch: Patch) -> None:
    patch.setattr(NoteRule, "leave", lambda *_: None)


def skip_notes_of_moves(patch: Patch) -> None:
    rows = Transaction.rows

    async def without_notes(self: Transaction, name: str, *rest: Any, **more: Any) -> Any:
        return [] if name == "packs.note_move" else await rows(self, name, *rest, **more)

    patch.setattr(Transaction, "rows", without_notes)


def move_the_mark_too_far(patch: Patch) -> None:
    rows = PartitionQueries.rows

    def further(self: PartitionQueries, name: str, parameters: dict[str, Any] | None = None) -> Any:
        if name == "windows.move_mark" and parameters is not None:
            by = {"counted_before": parameters["counted_before"] + timedelta(minutes=15)}
            return rows(self, name, by) or rows(self, name, parameters)
        return rows(self, name, parameters)

    patch.setattr(PartitionQueries, "rows", further)


def count_without_a_snapshot(patch: Patch) -> None:
    @contextmanager
    def each_statement_for_itself(connection: psycopg.Connection[Any]) -> Iterator[None]:
        with connection.transaction():
            yield

    patch.setattr(counting, "_snapshot", each_statement_for_itself)


def delete_notes_not_seen(patch: Patch) -> None:
    """The counter's notes go before its COMMIT, whoever has written them meanwhile."""
    once = CountingStore.count_once

    def then_all(self: CountingStore, before: Any = lambda: None, after: Any = lambda: None) -> bool:
        found = once(self, before, after)
        self._connected().connection.execute(
            "DELETE FROM window_notes WHERE starts < (SELECT counted_before FROM window_marks)"
        )
        return found

    patch.setattr(CountingStore, "count_once", then_all)


def forget_what_was_corrected(patch: Patch) -> None:
    patch.setattr(State, "mark_corrected", lambda *_: None)


def leave_latest_values_as_they_were(patch: Patch) -> None:
    holders = State.holders_of_latest
    patch.setattr(State, "holders_of_latest", lambda self, gone: holders(self, gone)[:0])


def change_state_before_commit_and_keep_it(patch: Patch) -> None:
    states: list[State] = []
    plan, decide = pipeline.plan, pipeline.decide

    def planned(batches: Any, state: State) -> Any:
        states[:] = [state]
        return plan(batches, state)

    def decided(*given: Any) -> Outcome:
        outcome = decide(*given)
        states[0].apply(outcome.rows)
        return outcome

    patch.setattr(owner.pipeline, "plan", planned)
    patch.setattr(owner.pipeline, "decide", decided)
    patch.setattr(PartitionOwner, "forget", lambda *_: None)


def correct_beside_what_was_there(patch: Patch) -> None:
    """A correction leaves the old value where it was."""
    replaced = correcting.replace_slice

    def nothing_replaced(queries: Any, correction: Any, *rest: Any) -> Any:
        if correction.kind.deletes:
            return replaced(queries, correction, *rest)
        return correcting._nothing_replaced(), None

    patch.setattr(partition, "replace_slice", nothing_replaced)


BROKEN = {
    skip_notes: (),
    skip_notes_of_moves: ("move",),
    move_the_mark_too_far: ("pass_time",),
    delete_notes_not_seen: ("count",),
    count_without_a_snapshot: ("group_inside_of_a_count", "change_inside_of_a_count"),
    forget_what_was_corrected: ("delete_range",),
    leave_latest_values_as_they_were: ("delete_range",),
    correct_beside_what_was_there: ("put_right",),
    change_state_before_commit_and_keep_it: (),
}
"""What is broken, and the steps that come more often, so that it is found soon."""


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
def test_broken_engine_is_found_within_few_steps(
    own_database: Callable[[], DatabaseAccess], monkeypatch: Patch, broken: Callable[[Patch], None]
) -> None:
    access = own_database()
    broken(monkeypatch)
    with pytest.raises(Contradiction):
        run(access, 4, STEPS_TO_FIND, often=BROKEN[broken])
