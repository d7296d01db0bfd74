"""The latest values of many packs in one look-up."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from api.call import Call
from domain.errors import InvalidRequestError
from domain.groups import group_of
from domain.measures import MEASURES, THOUSANDTHS_PER_UNIT
from domain.readings import NEVER_MS, BoolArray, Float64Array, Int32Array, Int64Array
from storage import pack_groups
from storage import packs as stored
from storage.pack_groups import Members
from storage.transactions import Transaction


@dataclass(frozen=True, slots=True, eq=False)
class LatestOfPacks:
    """The latest values of n packs: value float64[measures, n] and ts_ms int64[measures, n] where known bool[…].

    number: int32[n], of the packs within the engine.
    unknown: those of the packs asked for that there are none of.
    """

    packs: tuple[str, ...]
    number: Int32Array
    value: Float64Array
    ts_ms: Int64Array
    known: BoolArray
    unknown: tuple[str, ...] = ()


async def of_packs(call: Call, packs: Sequence[str]) -> LatestOfPacks:
    """Those of the packs that there are, in the order given, each once. Raises InvalidRequestError for too many."""
    packs_max = call.engine.settings.latest_packs_max
    asked = list(dict.fromkeys(packs))
    if len(asked) > packs_max:
        raise InvalidRequestError(f"more than {packs_max} packs", field="packs", limit=packs_max)

    async def members(transaction: Transaction) -> Members:
        found = await pack_groups.known_packs(transaction, asked)
        return Members(tuple(found), np.fromiter(found.values(), np.int32, len(found)))

    return await _latest(call, members, asked)


async def of_group(call: Call, group: str) -> LatestOfPacks:
    """The packs of a group that the actor sees, by external id. Raises InvalidRequestError, NotFoundError."""
    wanted = group_of(group)

    async def members(transaction: Transaction) -> Members:
        return await pack_groups.packs_of(transaction, wanted, call.engine.settings.latest_packs_max)

    return await _latest(call, members, ())


async def _latest(
    call: Call, members_of: Callable[[Transaction], Awaitable[Members]], asked: Sequence[str]
) -> LatestOfPacks:
    """The store is asked again who sees what, after the values were taken.

    Else a value that came after a pack had moved would be shown to those who saw the pack before.
    """
    async with call.snapshot() as transaction:
        before = await members_of(transaction)
    ts_ms, thousandths = await call.engine.runner.latest_of_packs(before.number)
    async with call.snapshot() as transaction:
        members = await members_of(transaction)
        at = _places(before, members)
        there = np.flatnonzero(at >= 0)
        members = Members(tuple(members.names[place] for place in there), members.number[there])
        found = await _own(transaction, members, ts_ms[:, at[there]], thousandths[:, at[there]])
    unknown = set(asked) - set(found.packs)
    return replace(found, unknown=tuple(name for name in asked if name in unknown))


def _places(before: Members, after: Members) -> Int64Array:
    """Where each pack of `after` stands in `before`, -1 for one that doesn't: int64[after]."""
    places = {number: place for place, number in enumerate(before.number.tolist())}
    return np.array([places.get(number, -1) for number in after.number.tolist()], np.int64)


async def _own(
    transaction: Transaction, members: Members, ts_ms: Int64Array, thousandths: Int32Array
) -> LatestOfPacks:
    """What of packs' latest values is the tenant's own; where that is another's, the tenant's latest."""
    known = ts_ms != NEVER_MS
    value = thousandths / THOUSANDTHS_PER_UNIT
    place, from_ms, to_ms = await stored.tenures_of_packs(transaction, members.number)
    for measure in range(len(MEASURES)):
        then_ms = ts_ms[measure, place]
        own = np.zeros(len(members.number), np.bool_)
        np.logical_or.at(own, place, (then_ms >= from_ms) & (then_ms < to_ms))
        elsewhere = np.flatnonzero(known[measure] & ~own)
        if len(elsewhere):
            known[measure, elsewhere] = False
            await _look_up(transaction, members.number, measure, elsewhere, value, ts_ms, known)
    return LatestOfPacks(members.names, members.number, value, ts_ms, known)


async def _look_up(
    transaction: Transaction,
    number: Int32Array,
    measure: int,
    which: Int64Array,
    value: Float64Array,
    ts_ms: Int64Array,
    known: BoolArray,
) -> None:
    """Put in the tenant's own values of packs whose latest value of all is another tenant's."""
    place, own_ts_ms, own_value = await stored.latest_held_of(transaction, number[which], measure)
    at = which[place]
    known[measure, at] = True
    ts_ms[measure, at] = own_ts_ms
    value[measure, at] = own_value
