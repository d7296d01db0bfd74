"""Answers about days that are closed and counted, kept while nothing in them has changed."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Final

from starlette.responses import Response

from api.aggregates.service import Asked, group_table, pack_tables
from api.call import Call
from api.series import Table
from domain.clock import MILLISECONDS_PER_SECOND, to_ms
from domain.errors import InvalidRequestError
from domain.groups import GroupKind, group_of
from storage.closed import closed_span
from storage.pack_groups import state_of
from storage.transactions import Transaction

_HOUR_MS: Final = 3_600_000
_ZONES_APART_MS: Final = 32 * _HOUR_MS
"""A group's window is of the zone that is asked for, or of those of its packs: no clock was ever further from UTC than
16 hours.
"""

Encode = Callable[[Sequence[Table]], Response]


@dataclass(frozen=True, slots=True)
class Question:
    """Windows of packs, or of a group, in a format."""

    asked: Asked
    packs: tuple[str, ...]
    group: str | None
    measures: tuple[str, ...]
    media_type: str

    @property
    def span_ms(self) -> tuple[int, int]:
        """The readings of this span, and none else, have a part in the answer."""
        starts_ms, ends_ms = to_ms(self.asked.starts), to_ms(self.asked.ends)
        if self.group is None:
            return starts_ms, ends_ms
        # A window that begins at the very end goes on behind it.
        longest_ms = self.asked.step.most_s * MILLISECONDS_PER_SECOND
        return starts_ms - _ZONES_APART_MS, ends_ms + longest_ms + _ZONES_APART_MS


async def answer(call: Call, question: Question, encode: Encode) -> Response:
    """The answer to a question: as it was kept, or made now. Raises what `pack_tables` and `group_table` raise."""
    if question.group is not None and question.packs:
        raise InvalidRequestError("ask for packs or for a group, not for both", field="group")
    cache, state = call.engine.answers, None
    whose = (call.actor.tenant_id, call.actor.sites, call.actor.device_pack, question)
    async with call.snapshot() as transaction:
        if question.span_ms[1] <= call.engine.clock.now_ms():
            state = await _state(transaction, question)
        kept = None if state is None else cache.get(whose, state)
        if kept is not None:
            return Response(kept, media_type=question.media_type)
        tables = await _tables(call, transaction, question)
    made = encode(tables)
    body: bytes | None = getattr(made, "body", None)
    if state is not None and body is not None:
        cache.put(whose, state, body)
    return made


async def _state(transaction: Transaction, question: Question) -> Hashable | None:
    """What the answer depends on; None when readings may still come without a trace in it."""
    span = await closed_span(transaction, *question.span_ms)
    if not span.is_counted:
        return None
    saved = None
    if question.group is not None:
        group = group_of(question.group)
        saved = await state_of(transaction, group.name) if group.kind is GroupKind.SAVED else None
    return span.registry_version, span.changes, saved


async def _tables(call: Call, transaction: Transaction, question: Question) -> list[Table]:
    settings, asked = call.engine.settings, question.asked
    if question.group is not None:
        return [await group_table(transaction, settings, asked, question.group, question.measures)]
    return await pack_tables(transaction, settings, asked, question.packs, question.measures)
