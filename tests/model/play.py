"""Steps drawn from a seed: what clients, operators, time and bad luck do."""

import asyncio
import json
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from uuid import UUID

import uvloop

from api.database_access import DatabaseAccess
from streams.ports import Stage
from tests.model.driver import Driver
from tests.model.model import QUARTER_MS, Batch, Identity, Model, Reading, quarter_of
from tests.model.world import RULES, ZONES, Crash, Fault, MeetingCounter, Trouble, World, at_no_stage, at_once

EVERYTHING_EVERY = 500
GAP_MS = RULES.gap_ms
MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000

PACKS = {"north": ["P0", "P1", "P2"], "south": ["P3", "P4"]}
VALUES = {
    0: (20_000, 20_001, 99_999),
    3: (300_000, 310_500, 399_999),
    4: (-2_500, 0, 1, 3_333, -200_000),
    6: (3_700, 3_701),
}
"""Few measures with few values, so that they meet again."""

OFFSETS_MS = (0, 100_000, 200_000, 300_000, 450_000, 600_000, 700_000, 800_000, 899_999)
NUDGES_MS = (0, 0, 0, 0, 1, -1, 40_000, 123)


@dataclass(slots=True)
class Play:
    """The steps of one seed."""

    driver: Driver
    random: Random
    often: tuple[str, ...] = ()
    sent: list[Batch] = field(default_factory=list)
    imports: list[tuple[int, UUID]] = field(default_factory=list)
    of_import: dict[UUID, set[UUID]] = field(default_factory=lambda: defaultdict(set))
    done: int = 0

    @property
    def world(self) -> World:
        return self.driver.world

    @property
    def model(self) -> Model:
        return self.driver.model

    async def step(self) -> None:
        """Draw a step, do it, and compare. Raises Contradiction."""
        (name,) = self.random.choices(
            list(STEPS), [chance * (10 if name in self.often else 1) for name, chance in STEPS.items()]
        )
        self.driver.log.append(f"{self.done + 1}. {name}")
        act: Callable[[], Awaitable[None]] = getattr(self, f"_{name}")
        await act()
        self.done += 1
        await self.driver.compare_touched()
        if self.done % EVERYTHING_EVERY == 0:
            await self.driver.compare_everything()

    def _say(self, text: str) -> None:
        self.driver.log[-1] += f"\n    {text}"

    # Readings

    async def _live(self) -> None:
        batches = [self._batch() for _ in range(self.random.choice((1, 1, 1, 2, 3)))]
        await self._send(batches)

    async def _resend(self) -> None:
        recent = self.sent[-200:]
        if recent:
            batch = self.random.choice(recent)
            if self.random.random() < 0.1:
                batch = self._other_body(batch)
            await self._send([batch, self._batch()] if self.random.random() < 0.3 else [batch])

    async def _bulk(self) -> None:
        """Imports, or late live batches, that are committed in parts."""
        first = self._batch(
            self.random.randint(4, 14), self._import() if self.random.random() < 0.7 else None
        )
        more = [self._batch() for _ in range(self.random.randint(0, 2))]
        await self._send([first, *more])

    async def _send(self, batches: list[Batch]) -> None:
        self._maybe_fault(0.04)
        for batch in batches:
            self._say(str(batch))
            if batch.import_id is not None:
                self.of_import[batch.import_id].add(batch.id)
            if batch.body is not None:
                self.sent.append(batch)
        await self.driver.send(batches)

    def _other_body(self, batch: Batch) -> Batch:
        readings = (*batch.readings, self._reading())
        return made(batch.id, batch.tenant, batch.import_id, batch.device, readings, self.random)

    def _batch(self, size: int | None = None, of_import: tuple[int, UUID] | None = None) -> Batch:
        tenant = self.random.choice(self.world.tenants).id if of_import is None else of_import[0]
        count = size or self.random.choice((1, 1, 2, 3, 4, 6))
        own = sorted(name for of, name in self.model.numbers if of == tenant)
        pack = self.random.choice(own if self.random.random() < 0.95 else self.world.names)
        around = self._moment(back=of_import is not None)
        readings = [
            self._reading(
                pack if self.random.random() < 0.85 else self.random.choice((None, *own, *own)), around
            )
            for _ in range(count)
        ]
        if self.random.random() < 0.2 and self.sent:
            readings += self.random.choice(self.sent[-50:]).readings[:4]
        if self.random.random() < 0.5:
            self.random.shuffle(readings)
        device = pack if self.random.random() < 0.15 else None
        batch_id = UUID(int=self.random.getrandbits(128))
        return made(batch_id, tenant, of_import and of_import[1], device, tuple(readings), self.random)

    def batch_of(self, batch_id: UUID, pack: str, readings: list[tuple[int, dict[int, int]]]) -> Batch:
        """A live batch of readings (time, values) of one pack, sent by who holds it."""
        tenant = self.model.tenures[self._number_of(pack)][-1].tenant
        sent = tuple(Reading(pack, ts, tuple(values.items())) for ts, values in readings)
        return made(batch_id, tenant, None, None, sent, self.random)

    def _number_of(self, name: str) -> int:
        return next(number for (_, known), number in self.model.numbers.items() if known == name)

    def _reading(self, pack: str | None = None, around: int | None = None) -> Reading:
        around = self._moment() if around is None else around
        ts = around + self.random.choice(OFFSETS_MS) + self.random.choice(NUDGES_MS)
        chance = self.random.random()
        if chance < 0.4:
            ts = self.world.now_ms - self.random.randint(0, 60) * 1000
        elif chance < 0.41:
            ts = self.world.now_ms + RULES.future_ms + self.random.choice((0, 1))
        elif chance < 0.42:
            ts = self.world.now_ms - RULES.late_ms - self.random.choice((0, 1))
        measures = self.random.sample(sorted(VALUES), self.random.choice((1, 2, 2, 3, 4)))
        values = tuple((measure, self.random.choice(VALUES[measure])) for measure in sorted(measures))
        if self.random.random() < 0.01:
            values = self.random.choice(((), ((0, 100_001),), ((3, -1), (4, 0))))
        name = pack or self.random.choice((*self.world.names, "unknown"))
        return Reading(name, ts, values)

    def _moment(self, *, back: bool = False) -> int:
        """The start of a quarter-hour, most often of a recent one."""
        quarters = self.random.choice((0, 0, 1, 1, 2, 3, 5, 10, 40))
        if back and self.random.random() < 0.3:
            quarters = self.random.choice((96, 500, 3_000, 4_000))
        return quarter_of(self.world.now_ms) - quarters * QUARTER_MS

    def _import(self) -> tuple[int, UUID]:
        """An import that is under way, or an undone one, or a new one."""
        if not self.imports or self.random.random() < 0.1:
            tenant = self.random.choice(self.world.tenants).id
            self.imports.append((tenant, self.driver.begin_import(tenant)))
        return self.random.choice(self.imports[-4:])

    # Corrections

    async def _delete_range(self) -> None:
        tenant, pack, ts = self._some_reading()
        starts = ts - self.random.choice((0, 1, GAP_MS, QUARTER_MS))
        ends = ts + self.random.choice((1, 100_001, QUARTER_MS, HOUR_MS))
        measures = self.random.choice((range(7), range(7), (3, 4), (4,)))
        meant = self.model.in_range(tenant, pack, starts, ends, list(measures))
        again = self._again(list(meant.items()))
        between = self._between(again)
        self._say(
            f"pack {pack} of {tenant}: {starts} to {ends}, measures {list(measures)}, between {told(between)}"
        )
        self._maybe_fault(0.15)
        await self.driver.delete_range(tenant, pack, starts, ends, list(measures), between)
        if again and self.random.random() < 0.5:
            await self._send(again[-1:])

    async def _delete_batch(self) -> None:
        known = [one for one in self.sent[-100:] if (one.tenant, one.id) in self.model.known]
        if known:
            batch = self.random.choice(known)
            again = self._again(list(self.model.of_batches(batch.tenant, {batch.id}).items()))
            between = self._between(again)
            self._say(f"{batch.id} of {batch.tenant}, between {told(between)}")
            self._maybe_fault(0.15)
            await self.driver.delete_batches(batch.tenant, batch.id, None, {batch.id}, between)

    async def _delete_import(self) -> None:
        if self.imports:
            tenant, import_id = self.random.choice(self.imports[-5:])
            of = self.of_import[import_id]
            again = self._again(list(self.model.of_batches(tenant, of).items()))
            between = self._between(again)
            self._say(f"{import_id} of {tenant}, between {told(between)}")
            self._maybe_fault(0.15)
            await self.driver.delete_batches(tenant, None, import_id, of, between)

    async def _put_right(self) -> None:
        tenant, pack, ts = self._some_reading()
        measures = self.model.ever_stored(tenant, pack, ts)
        if measures:
            chosen = self.random.sample(measures, self.random.randint(1, len(measures)))
            values = {measure: self.random.choice(VALUES[measure]) for measure in chosen}
            self._say(f"pack {pack} of {tenant}: {ts} {values}")
            self._maybe_fault(0.15)
            await self.driver.put_right(tenant, pack, ts, values)

    def _some_reading(self) -> tuple[int, int, int]:
        """A tenant, a pack, and a time at which the pack has a reading, or had one."""
        pack = self.random.choice(sorted(self.model.tenures))
        times = self.model.times[pack][-200:]
        if self.random.random() < 0.3:
            times = [ts for of, ts, _ in self.model.former if of == pack][-50:] or times
        if self.random.random() < 0.3:
            times = times[-2:]
        ts = self.random.choice(times) if times else self.world.now_ms
        holder = self.model.holder(pack, ts)
        knows = [tenant for (tenant, _), number in self.model.numbers.items() if number == pack]
        tenant = self.random.choice(knows)
        return (tenant if holder is None or self.random.random() < 0.1 else holder.tenant), pack, ts

    def _between(self, again: list[Batch]) -> list[Batch]:
        """Batches that arrive while a correction is under way."""
        if self.random.random() < 0.5:
            return []
        return [*again[:1], *(self._batch() for _ in range(self.random.randint(0, 2)))]

    def _again(self, values: list[tuple[Identity, int]]) -> list[Batch]:
        """Two batches that bring values again which a correction is to take out, and perhaps others in their place."""
        if not values:
            return []
        batches = []
        for _ in range(2):
            chosen = self.random.sample(values, min(3, len(values)))
            name = self._name_of(chosen[0][0][0])
            one = [
                (ts, {measure: value if self.random.random() < 0.8 else self.random.choice(VALUES[measure])})
                for (_, ts, measure), value in chosen
            ]
            batches.append(self.batch_of(UUID(int=self.random.getrandbits(128)), name, one))
        return batches

    # Packs

    async def _move(self) -> None:
        tenant, pack, ts = self._some_reading()
        name = self._name_of(pack)
        if self.model.own_tenures(tenant, pack):
            starts = self.random.choice((ts, ts + 1, ts - GAP_MS, quarter_of(ts), self.world.now_ms))
            self._say(f"{name} of {tenant} from {starts}")
            await self.driver.move(tenant, pack, name, starts, self.random.choice(ZONES))

    async def _hand_over(self) -> None:
        pack = self.random.choice(sorted(self.model.tenures))
        giver = self.model.tenures[pack][-1].tenant
        taker = next(one.id for one in self.world.tenants if one.id != giver)
        last = self.model.times[pack][-1] if self.model.times[pack] else self.world.now_ms
        starts = self.random.choice((last, last + 1, last + GAP_MS, quarter_of(last) + QUARTER_MS))
        self._say(f"{self._name_of(pack)} from {giver} to {taker} from {starts}")
        self.driver.hand_over(giver, taker, self._name_of(pack), starts)

    def _name_of(self, pack: int) -> str:
        return next(name for (_, name), number in self.model.numbers.items() if number == pack)

    # Time, and the writer

    async def _pass_time(self) -> None:
        kind = self.random.random()
        if kind < 0.7:
            by = self.random.randint(1, 120_000)
        elif kind < 0.97:
            by = self.random.randint(5 * MINUTE_MS, 20 * MINUTE_MS)
        else:
            by = self.random.randint(HOUR_MS, 4 * HOUR_MS)
        self.world.now_ms += by
        self._say(f"by {by} ms to {self.world.now_ms}")
        if self.random.random() < 0.7:
            self._maybe_fault(0.05)
            self.driver.idle()

    # The counter

    async def _count(self) -> None:
        """Some steps of the counter, of which one may be interrupted."""
        steps = self.random.choice((1, 2, 4, 8))
        interrupted = self.random.random() < 0.1
        self._say(f"{steps} steps" + (", the last interrupted" if interrupted else ""))
        for step in range(steps):
            try:
                self.world.counting.count_once(fail if interrupted and step == steps - 1 else nothing)
            except Trouble:
                self.world.counting.close()

    async def _count_everything(self) -> None:
        self.driver.count_everything()

    async def _count_inside_of_a_group(self) -> None:
        """Count while the writer stands before its COMMIT."""
        counting = self.world.counting
        self.world.at_stage = lambda stage: count_at(stage, counting)
        await self._send([self._batch(), self._batch()])
        self.world.at_stage = at_no_stage

    async def _group_inside_of_a_count(self) -> None:
        """Let the writer do its turns while a count is under way."""
        point = self._point()
        self.world.around_turn = lambda turn: self._count_with(point, turn)
        await self._send([self._batch(), self._batch()])
        self.world.around_turn = at_once

    async def _change_inside_of_a_count(self) -> None:
        """A move, a hand-over or a correction commits while a count is under way."""
        acts = (self._move, self._move, self._hand_over, self._put_right, self._delete_range)
        point, act, loop = self._point(), self.random.choice(acts), asyncio.get_running_loop()
        self._say(act.__name__)

        def inside() -> None:
            asyncio.run_coroutine_threadsafe(act(), loop).result()

        await asyncio.to_thread(self._count_with, point, inside)

    def _point(self) -> str:
        point = self.random.choice(("before_reading", "before_storing", "before_commit"))
        self._say(point)
        return point

    def _count_with(self, point: str, inside: Callable[[], None]) -> None:
        """A step of the counter with something inside; behind it, when the step never comes by that point."""
        counting, met = self.world.counting, []

        def meet() -> None:
            if not met:
                met.append(True)
                inside()

        if point == "before_commit":
            counting.count_once(meet)
        else:
            setattr(counting, point, meet)
            counting.count_once()
            setattr(counting, point, None)
        meet()

    async def _restart(self) -> None:
        if self.random.random() < 0.5:
            self.world.stop()
        else:
            self._say("as after a crash")
        self.world.restart()

    def _maybe_fault(self, chance: float) -> None:
        """Let something happen around one of the next COMMITs of the writer."""
        if self.random.random() >= chance:
            return
        point = self.random.choice(("before", "after"))
        what = self.random.choice(("trouble", "crash", "cut", "hang_up"))
        passings, times = self.random.choice((1, 1, 2, 3)), self.random.choice((1, 1, 2))
        self._say(f"fault {point} COMMIT {passings}, {times} times: {what}")

        def act() -> None:
            if what in ("cut", "hang_up"):
                getattr(self.world.store, what)()
            else:
                raise Trouble if what == "trouble" else Crash

        self.world.store.fault = Fault(point, passings, times, act)


STEPS = {
    "live": 44,
    "resend": 6,
    "bulk": 8,
    "delete_range": 3,
    "delete_batch": 1,
    "delete_import": 0.7,
    "put_right": 3,
    "move": 2,
    "hand_over": 1.5,
    "pass_time": 12,
    "count": 10,
    "count_everything": 1,
    "count_inside_of_a_group": 1,
    "group_inside_of_a_count": 2,
    "change_inside_of_a_count": 2,
    "restart": 1,
}
"""How often each step is drawn."""


def count_at(stage: Stage, counting: MeetingCounter) -> None:
    if stage is Stage.BEFORE_COMMIT:
        counting.count_once()


def nothing() -> None:
    """What happens before a COMMIT most often."""


def fail() -> None:
    raise Trouble


def told(batches: list[Batch]) -> str:
    return "; ".join(map(str, batches)) or "nothing"


def made(
    batch_id: UUID,
    tenant: int,
    import_id: UUID | None,
    device: str | None,
    readings: tuple[Reading, ...],
    random: Random,
) -> Batch:
    """A batch; some have no key, so that they are never sent again."""
    raw = tuple(str(reading) for reading in readings)
    body = json.dumps([str(import_id), raw]).encode() if random.random() < 0.9 else None
    source = "live" if import_id is None else f"import {import_id}"
    return Batch(batch_id, tenant, source, body, import_id, device, readings, raw)


async def begin(access: DatabaseAccess, seed: int, often: tuple[str, ...] = ()) -> Play:
    """A new installation and its model, before the first step. often: steps that are drawn ten times as often."""
    world = World(access)
    await world.open(PACKS)
    model = Model(RULES)
    rows = world.sql.execute(
        "SELECT tenant_id, external_id, pack_id, tenure_no FROM packs JOIN tenures USING (tenant_id, pack_id)"
    )
    for tenant, name, number, tenure_no in rows:
        model.add_pack(tenant, name, number, tenure_no)
    return Play(Driver(world, model), Random(seed), often)


def run(
    access: DatabaseAccess,
    seed: int,
    steps: int,
    progress: Callable[[int], None] = lambda _: None,
    often: tuple[str, ...] = (),
) -> None:
    """Take so many steps, on the loop that serves. What it raises carries the seed and the last steps."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_take_steps(access, seed, steps, progress, often))


def run_quietly(access: DatabaseAccess, seed: int, steps: int) -> None:
    """The same in a process of its own, without what the engine tells of every fault made on purpose."""
    logging.disable(logging.CRITICAL)
    run(access, seed, steps)


async def _take_steps(
    access: DatabaseAccess, seed: int, steps: int, progress: Callable[[int], None], often: tuple[str, ...]
) -> None:
    play = await begin(access, seed, often)
    try:
        for number in range(steps):
            await play.step()
            progress(number + 1)
        await play.driver.compare_everything()
    except Exception as error:
        last = "\n".join(play.driver.log)
        error.add_note(f"The last steps of seed {seed}:\n{last}")
        raise
    finally:
        await play.world.close()
