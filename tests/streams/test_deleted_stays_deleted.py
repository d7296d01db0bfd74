"""What was deleted stays deleted, also when the writer ends while a correction is under way."""

import asyncio
from uuid import UUID

from api.database_access import DatabaseAccess
from tests.model.play import begin
from tests.model.world import Crash, Fault


def crash() -> None:
    raise Crash


def test_deleted_newest_reading_stays_deleted_after_a_crash_in_its_correction(
    database: DatabaseAccess,
) -> None:
    async def steps() -> None:
        play = await begin(database, seed=0)
        now = play.world.now_ms
        first, again = (play.batch_of(UUID(int=n), "P0", [(now - 10_000, {3: 300_000})]) for n in (1, 2))
        play.driver.idle()
        await play.driver.send([first])
        play.world.store.fault = Fault("after", 1, 1, crash)
        pack = play.model.numbers[first.tenant, "P0"]
        await play.driver.delete_range(first.tenant, pack, now - 20_000, now, [3])
        await play.driver.send([again])
        await play.driver.compare_everything()
        await play.world.close()

    asyncio.run(steps())
