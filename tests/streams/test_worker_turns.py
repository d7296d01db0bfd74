"""What is due between groups goes on in each partition of a worker, whatever holds another one up."""

import asyncio
import threading
import time

from api.limits import owner_limits
from api.settings import Environment, Settings
from domain.clock import AnchoredClock
from storage.partition import PartitionStore
from streams.dead_letters import DeadLetterWriter
from streams.faust_app import WorkerApp, WorkerLimits
from streams.partition_worker import PartitionWorker
from streams.pipeline import PipelineLimits

SETTINGS = Settings(env=Environment.DEVELOPMENT)
TURNS = 3


class Turning(PartitionWorker):
    """A partition of which nothing is due; its turn waits for `free`, if there is one."""

    free: threading.Event | None = None
    turned_often: threading.Event
    turns = 0

    def turn(self) -> None:
        self.turns += 1
        if self.turns == TURNS:
            self.turned_often.set()
        if self.free is not None:
            self.free.wait()


def turning(number: int) -> Turning:
    made = Turning(
        number,
        PartitionStore("", number, log="readings/0"),
        owner_limits(SETTINGS),
        PipelineLimits(SETTINGS.late_after_s, SETTINGS.receipt_items_max),
        AnchoredClock(lambda: 0, lambda: 0),
        time.monotonic,
        lambda _: None,
    )
    made.turned_often = threading.Event()
    return made


def test_turns_go_on_while_kafka_knows_no_partition_and_another_turn_takes_long() -> None:
    async def send_on(*_: object) -> None: ...

    async def run() -> None:
        limits = WorkerLimits(1, 1, 0.1, session_s=3, drain_s_max=1)
        letters = DeadLetterWriter("localhost:1", "dead-letters", time.monotonic, lambda _: None)
        app = WorkerApp(
            "localhost:1", "readings", "singles", "g", limits, turning, letters, send_on, lambda _: None
        )
        stuck, other = turning(0), turning(1)
        stuck.free = threading.Event()
        stuck.lost_s = time.monotonic() - 10
        app.partitions, app.assigned = {0: stuck, 1: other}, {0, 1}
        turns = asyncio.create_task(app._turn_for_ever())
        try:
            # The application isn't started: Kafka's end of a partition can't be asked, nor for a partition that was lost.
            assert await asyncio.to_thread(other.turned_often.wait, 20)
            assert (stuck.turns, turns.done()) == (1, False)
        finally:
            stuck.free.set()
            turns.cancel()
            await asyncio.gather(turns, return_exceptions=True)
            for worker in (stuck, other):
                worker.close()

    asyncio.run(run())
