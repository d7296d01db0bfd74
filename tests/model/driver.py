"""Does each step to the engine and to the model, and compares them."""

import asyncio
import uuid
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from domain.clock import from_ms, to_ms
from domain.corrections import CorrectionKind
from domain.errors import BpmError, UnavailableError
from domain.measures import MEASURE_NAMES
from domain.receipts import Receipt as EngineReceipt
from storage import corrections, packs, registry
from storage.corrections import NewCorrection
from tests.model import windows
from tests.model.model import Batch, Identity, Model, Receipt, Refusal, Tenure
from tests.model.world import BULK_SLICE, LIMITS, TURNS_MAX, Crash, World

_THOUSANDTHS = ", ".join(f"round({name} * 1000.0::float8)::int" for name in MEASURE_NAMES)
_READINGS = f"SELECT tenant_id, pack_id, ts, {_THOUSANDTHS} FROM readings"
_SUPERSEDED = f"SELECT correction_no, deleted, pack_id, ts, {_THOUSANDTHS} FROM superseded_readings"
_COUNTS = ("received", "accepted", "duplicate", "quarantined", "late", "conflicting")
_BATCHES = f"""
    SELECT tenant_id, id, part_of, {", ".join(_COUNTS)}, items FROM batches
    WHERE tenant_id = ANY(%s) AND id = ANY(%s) ORDER BY batch_no
"""
_SETTLE_ROUNDS = 8
COUNTS_MAX = 10_000


class Contradiction(AssertionError):  # noqa: N818 - what was found
    """The engine says something else than the model."""


def require(name: str, engine: object, model: object) -> None:
    """Raises Contradiction unless both are the same."""
    if engine != model:
        raise Contradiction(f"{name}\n  engine: {engine}\n  model:  {model}")


class Driver:
    """One engine and one model, which take the same steps."""

    def __init__(self, world: World, model: Model) -> None:
        self.world, self.model = world, model
        self.parts: dict[UUID, Receipt] = {}
        self.marks = (0, 0)
        self.log: deque[str] = deque(maxlen=30)

    # Batches

    async def send(self, batches: Sequence[Batch], after_turn: Callable[[], None] = lambda: None) -> None:
        """Send bodies at once, so that they queue up together, and compare what became of each.

        The model follows turn by turn: what the writer does between groups comes after what it commits in one.
        """
        before = {batch.id: self._told_before(batch) for batch in batches}
        tasks = [asyncio.create_task(self.world.send(batch)) for batch in batches]
        crashed, faulty = False, self.world.store.fault is not None
        await settle(tasks, self.world)
        for _ in range(TURNS_MAX):
            if all(task.done() for task in tasks):
                break
            try:
                self.world.turn()
            except Crash:
                crashed = True
                await abandon(tasks, self.world)
                self.world.restart()
            await settle(tasks, self.world)
            self._follow_batches([batch for batch in batches if before[batch.id] is None])
            after_turn()
        else:
            raise Contradiction("batches are never answered")
        self.mend()
        for batch, task in zip(batches, tasks, strict=True):
            if not crashed:
                expected = before[batch.id] or self._told_now(batch)
                self._compare_answer(batch, await outcome(task), expected, lenient=faulty)

    def _follow_batches(self, batches: Sequence[Batch]) -> None:
        """Let the model commit what the engine has committed of these by now, in its order."""
        fresh = {batch.id: batch for batch in batches}
        part_of = {part_id(batch.id, n): (batch, n) for batch in batches for n in range(parts_in(batch))}
        singles: list[Batch] = []
        tenants = sorted({batch.tenant for batch in batches})
        ids = [*fresh, *part_of]
        rows = self.world.sql.execute(_BATCHES, (tenants, ids)).fetchall() if ids else []
        for tenant, row_id, whole_id, *counts, items in rows:
            if row_id in self.parts or (tenant, row_id) in self.model.known:
                continue
            batch = part_of[row_id][0] if whole_id else fresh[row_id]
            if batch.import_id in self.model.undone:
                raise Contradiction(f"batch {row_id} was committed into an undone import")
            if whole_id is not None:
                start = part_of[row_id][1] * BULK_SLICE
                receipt = self.parts[row_id] = self.model.commit(
                    batch, self.world.now_ms, start, start + BULK_SLICE
                )
            else:
                receipt = self._whole(batch)
                self.model.known[tenant, row_id] = batch.body, receipt
                if len(batch.readings) < LIMITS.bulk_readings_min and batch.import_id is None:
                    singles.append(batch)
            require(f"receipt of {row_id}, as stored", (counts, items_of_row(items)), plain(receipt))
        for tenant in tenants:
            # Small ones of one tenant only: what is judged again, because packs changed, may be passed by others.
            found = [batch.id for batch in singles if batch.tenant == tenant]
            require("order of commits", found, [batch.id for batch in batches if batch.id in found])

    def _told_before(self, batch: Batch) -> Receipt | str | None:
        known = self.model.known.get((batch.tenant, batch.id))
        if known is None:
            return None
        return known[1] if known[0] == batch.body else "idempotency_key_reused"

    def _told_now(self, batch: Batch) -> Receipt | str | None:
        if batch.import_id in self.model.undone:
            return "conflict"
        known = self.model.known.get((batch.tenant, batch.id))
        return None if known is None else known[1]

    def _whole(self, batch: Batch) -> Receipt:
        if part_id(batch.id, 0) not in self.parts:
            return self.model.commit(batch, self.world.now_ms)
        receipt = Receipt()
        for number in range(parts_in(batch)):
            receipt = receipt.plus(self.parts[part_id(batch.id, number)])
        return receipt

    def _compare_answer(
        self, batch: Batch, told: EngineReceipt | BpmError, expected: Receipt | str | None, *, lenient: bool
    ) -> None:
        if lenient and isinstance(told, UnavailableError):
            return
        if expected is None:
            raise Contradiction(f"{batch.id} is answered and not stored: {told!r}")
        if isinstance(told, BpmError):
            require(f"answer to {batch.id}", told.code, expected)
        elif isinstance(expected, str):
            raise Contradiction(f"{batch.id} is answered with a receipt instead of {expected}")
        else:
            items = sorted(
                (item.index, str(item.outcome), str(item.reason), item.field) for item in told.items
            )
            require(
                f"answer to {batch.id}", ([getattr(told, name) for name in _COUNTS], items), plain(expected)
            )

    # Corrections

    async def delete_range(
        self,
        tenant: int,
        pack: int,
        starts: int,
        ends: int,
        measures: Sequence[int],
        between: Sequence[Batch] = (),
    ) -> None:
        """Delete a pack's readings of a span, while other batches arrive."""
        chosen = tuple(measure in measures for measure in range(len(MEASURE_NAMES)))
        new = NewCorrection(
            CorrectionKind.DELETE_RANGE, "a test", chosen, pack, from_ms(starts), from_ms(ends)
        )
        meant = self.model.in_range(tenant, pack, starts, ends, measures)

        def allowed(identity: Identity) -> bool:
            return identity[0] == pack and starts <= identity[1] < ends and identity[2] in measures

        await self._correct(tenant, new, set(meant), allowed, between)

    async def delete_batches(
        self,
        tenant: int,
        batch: UUID | None,
        import_id: UUID | None,
        of: set[UUID],
        between: Sequence[Batch] = (),
    ) -> None:
        """Delete a batch or an import, while other batches arrive."""
        kind = CorrectionKind.DELETE_BATCH if import_id is None else CorrectionKind.DELETE_IMPORT
        new = NewCorrection(kind, "a test", (True,) * len(MEASURE_NAMES), batch_id=batch, import_id=import_id)
        if import_id is not None:
            self.model.undone.add(import_id)
        meant = set(self.model.of_batches(tenant, of))
        await self._correct(tenant, new, meant, lambda identity: identity in meant, between)

    async def put_right(self, tenant: int, pack: int, ts: int, values: dict[int, int]) -> None:
        """Correct measures of one reading."""
        chosen = tuple(measure in values for measure in range(len(MEASURE_NAMES)))
        thousandths = tuple(values.get(measure) for measure in range(len(MEASURE_NAMES)))
        new = NewCorrection(
            CorrectionKind.CORRECT, "a test", chosen, pack, from_ms(ts), from_ms(ts + 1), thousandths
        )
        number = await self._ask(tenant, new)
        await self._until_done(number)
        holder = self.model.holder(pack, ts)
        if holder is not None and holder.tenant == tenant:
            self.model.correct(tenant, pack, ts, values, number)
        require(
            "what a correction superseded", self._superseded_by(number), self._model_superseded_by(number)
        )

    async def _ask(self, tenant: int, new: NewCorrection) -> int:
        async with self.world.transaction(tenant) as transaction:
            correction_id = await corrections.ask(transaction, new)
        self.world.runner.owner.corrections_due = True
        return int(self._value("SELECT correction_no FROM corrections WHERE id = %s", correction_id))

    async def _correct(
        self, tenant: int, new: NewCorrection, meant: set[Identity], allowed: Any, between: Sequence[Batch]
    ) -> None:
        number = await self._ask(tenant, new)
        for batch in between:
            await self.send([batch], lambda: self._follow(number, allowed))
        await self._until_done(number)
        self._follow(number, allowed)
        left = meant - {identity for of, identity, _, _ in self.model.superseded if of == number}
        require("what a correction left", left, set())

    async def _until_done(self, number: int) -> None:
        for _ in range(TURNS_MAX):
            try:
                self.world.turn()
            except Crash:
                self.world.restart()
            if self._value("SELECT status FROM corrections WHERE correction_no = %s", number) == "done":
                self.mend()
                return
        raise Contradiction("a correction is never done")

    def _follow(self, number: int, allowed: Any) -> None:
        """Let the model take out what the engine has taken out so far, where it may."""
        done = self._superseded_by(number) - self._model_superseded_by(number)
        for (_, identity, value, deleted), times in done.items():
            pack, ts, measure = identity
            stored = self.model.at.get((pack, ts), {}).get(measure)
            if times != 1 or stored is None or stored.value != value or not deleted or not allowed(identity):
                raise Contradiction(f"{identity}: {value} was taken out, and must not have been")
            self.model.supersede(identity, number, deleted=True)

    def _superseded_by(self, number: int) -> Counter[tuple[int, Identity, int, bool]]:
        return values_of_rows(self.world.sql.execute(f"{_SUPERSEDED} WHERE correction_no = %s", (number,)))

    def _model_superseded_by(self, number: int) -> Counter[tuple[int, Identity, int, bool]]:
        return Counter({key: times for key, times in self.model.superseded.items() if key[0] == number})

    # Packs

    async def move(self, tenant: int, pack: int, name: str, starts: int, site: str) -> None:
        """Move a pack within its tenant, perhaps back in time."""
        made: Tenure | str
        try:
            made = self.model.move(tenant, pack, starts)
        except Refusal as refusal:
            made = str(refusal)
        try:
            async with self.world.transaction(tenant) as transaction:
                found = await packs.get_by_name(transaction, name)
                changes = {} if site is None else {"site": site}
                await packs.move(transaction, found["id"], from_ms(starts), changes)
        except BpmError as error:
            require("answer to a move", error.code, made)
        else:
            self._number(made, tenant, pack, starts)

    def hand_over(self, giver: int, taker: int, name: str, starts: int) -> None:
        """Give a pack to the other tenant."""
        made: Tenure | str
        try:
            made = self.model.hand_over(giver, taker, name, starts)
        except Refusal as refusal:
            made = str(refusal)
        names = [self.world.tenant(one).name for one in (giver, taker)]
        try:
            registry.hand_over(self.world.ingest, name, *names, name, from_ms(starts))
        except BpmError as error:
            require("answer to a hand-over", error.code, made)
        else:
            self._number(made, taker, self.model.numbers[giver, name], starts)

    def _number(self, made: Tenure | str, tenant: int, pack: int, starts: int) -> None:
        if isinstance(made, str):
            raise Contradiction(f"a change of tenure was accepted instead of {made}")
        made.number = self._value(
            "SELECT tenure_no FROM tenures WHERE tenant_id = %s AND pack_id = %s AND held_from = %s",
            tenant,
            pack,
            from_ms(starts),
        )

    # The writer

    def mend(self) -> None:
        """No fault any more, and a writer that is ready."""
        self.world.store.fault = None
        for _ in range(3):
            if self.world.runner.trouble is None:
                return
            self.world.turn()
        raise Contradiction(f"the writer does not come back: {self.world.runner.trouble}")

    def idle(self) -> None:
        """Let the writer do what is due by the time, faults included."""
        try:
            self.world.turn()
        except Crash:
            self.world.restart()
        self.mend()

    # Comparisons

    def compare_latest(self, numbers: Sequence[int]) -> None:
        """The latest values that the writer remembers."""
        for pack in numbers:
            told = self.world.runner.owner._loaded().latest_of(pack)
            latest = [None if one is None else (one.thousandths, one.ts_ms) for one in told]
            require(f"latest values of pack {pack}", latest, self.model.latest(pack))

    async def compare_touched(self) -> None:
        """What the last step may have changed, and the marks."""
        touched = self.model.take_touched()
        self.compare_latest(sorted({pack for _, pack, _ in touched}))
        self._require_none(await windows.differing_places(self.world, self.model, touched))
        self.compare_marks()

    def compare_marks(self) -> None:
        """The marks move forward only, and counting never overtakes closing."""
        row = self.world.sql.execute(
            "SELECT closed_before, counted_before FROM partitions, window_marks"
        ).fetchone()
        assert row is not None
        marks = to_ms(row[0]), to_ms(row[1])
        if not (self.marks[0] <= marks[0] and self.marks[1] <= marks[1] <= marks[0]):
            raise Contradiction(f"marks (closed, counted) went from {self.marks} to {marks}")
        self.marks = marks

    def count_everything(self) -> None:
        """Count until nothing is left."""
        steps = 0
        while self.world.counting.count_once():
            steps += 1
            if steps > COUNTS_MAX:
                raise Contradiction("counting never ends")

    def _require_none(self, differences: list[str]) -> None:
        if differences:
            raise Contradiction(f"{len(differences)} windows differ\n" + "\n".join(differences[:5]))

    async def compare_everything(self) -> None:
        """All that is stored, and all that is answered, before and after everything is counted."""
        self.compare_latest(sorted(self.model.tenures))
        await self._compare_all_windows()
        self.count_everything()
        self.compare_marks()
        require("counting mark behind the closing mark", self.marks[1], self.marks[0])
        notes = self._value(
            "SELECT count(*) FROM window_notes WHERE starts < (SELECT counted_before FROM window_marks)"
        )
        require("notes when all is counted", notes, 0)
        require_same(
            "stored quarter-hours",
            windows.stored_quarters(self.world),
            windows.recounted_quarters(self.model, self.marks[1]),
        )
        await self._compare_all_windows()
        self._require_none(await windows.differing_days(self.world, self.model))
        self._compare_tables()

    async def _compare_all_windows(self) -> None:
        places = {
            (tenant, pack, start)
            for (tenant, _), pack in self.model.numbers.items()
            for start in self.model.quarters_near(pack, -(2**62), 2**62)
        }
        self._require_none(await windows.differing_places(self.world, self.model, places))

    def _compare_tables(self) -> None:
        stored: dict[Identity, tuple[int, int]] = {}
        for tenant, pack, ts, *values in self.world.sql.execute(_READINGS):
            for measure, value in enumerate(values):
                if value is not None:
                    identity = pack, to_ms(ts), measure
                    if identity in stored:
                        raise Contradiction(f"{identity} is stored twice")
                    stored[identity] = value, tenant
        require_same("readings", stored, {
            (pack, ts, measure): (one.value, one.tenant)
            for (pack, ts), here in self.model.at.items()
            for measure, one in here.items()
        })  # fmt: skip
        require_same(
            "superseded readings", values_of_rows(self.world.sql.execute(_SUPERSEDED)), self.model.superseded
        )
        rows = self.world.sql.execute(
            "SELECT tenant_id, source, raw, reason, times FROM quarantine"
        ).fetchall()
        require_same("quarantine", {tuple(key): times for *key, times in rows}, dict(self.model.quarantine))
        rows = self.world.sql.execute("SELECT tenant_id, id FROM batches WHERE part_of IS NULL").fetchall()
        require_same("batches", dict.fromkeys(rows), dict.fromkeys(self.model.known))

    def begin_import(self, tenant: int) -> UUID:
        """A new import of a tenant."""
        statement = (
            "INSERT INTO imports (tenant_id, source, created_by) VALUES (%s, 's', 'tester') RETURNING id"
        )
        made: UUID = self._value(statement, tenant)
        return made

    def _value(self, statement: str, *parameters: object) -> Any:
        row = self.world.sql.execute(statement.encode(), parameters).fetchone()
        if row is None:
            raise Contradiction(f"no row of {statement}")
        return row[0]


def require_same(name: str, engine: dict[Any, Any], model: dict[Any, Any]) -> None:
    """Raises Contradiction with the first differences of two dictionaries."""
    if engine != model:
        keys = [key for key in engine.keys() | model.keys() if engine.get(key) != model.get(key)]
        lines = [
            f"  {key}: engine {engine.get(key)}, model {model.get(key)}" for key in sorted(keys, key=str)[:10]
        ]
        raise Contradiction("\n".join([f"{name}: {len(keys)} differ", *lines]))


def values_of_rows(rows: Any) -> Counter[tuple[int, Identity, int, bool]]:
    """Superseded values one by one."""
    return Counter(
        (number, (pack, to_ms(ts), measure), value, deleted)
        for number, deleted, pack, ts, *values in rows
        for measure, value in enumerate(values)
        if value is not None
    )


def plain(receipt: Receipt) -> tuple[list[int], list[Any]]:
    return [getattr(receipt, name) for name in _COUNTS], sorted(receipt.items)


def items_of_row(items: Sequence[dict[str, Any]]) -> list[Any]:
    return sorted((item["index"], item["outcome"], item["reason"], item.get("field")) for item in items)


def part_id(whole: UUID, number: int) -> UUID:
    return uuid.uuid5(whole, f"part {number}")


def parts_in(batch: Batch) -> int:
    return -(-len(batch.readings) // BULK_SLICE)


async def settle(tasks: Sequence["asyncio.Task[Any]"], world: World) -> None:
    """Let clients run until each has its answer, or waits for the writer."""
    for _ in range(_SETTLE_ROUNDS):
        await asyncio.sleep(0)
    while sum(not task.done() for task in tasks) > world.waiting:  # noqa: ASYNC110 - two counts, no event
        await asyncio.sleep(0)


async def abandon(tasks: Sequence["asyncio.Task[Any]"], world: World) -> None:
    """Clients whose engine has ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    world.waiting = 0


async def outcome(task: "asyncio.Task[EngineReceipt]") -> EngineReceipt | BpmError:
    """What a client was told, errors included."""
    try:
        return await task
    except BpmError as error:
        return error
