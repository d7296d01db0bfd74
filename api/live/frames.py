"""Frames of live streams, made once for all who get them."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple
from uuid import UUID

import orjson
from websockets.frames import Frame as WebSocketFrame
from websockets.frames import Opcode

from api.alerts.shown import Row, shown

FrameType = Literal["snapshot", "alert", "telemetry", "heartbeat", "lagged"]

_OF_EVENT = ("kind", "reason", "at", "subject", "assignee", "comment")
_BESIDE_ALERT = frozenset({"partition_no", "seq", "event_value", *_OF_EVENT})


@dataclass(frozen=True)
class Frame:
    """What a client is sent. cursor: from where it goes on after this frame, None while a snapshot isn't whole."""

    kind: FrameType
    cursor: str | None
    data: Any

    @cached_property
    def message(self) -> bytes:
        """As a WebSocket's message, with its header: the bytes that every client gets."""
        content = {"type": self.kind, "cursor": self.cursor, "data": self.data}
        return WebSocketFrame(Opcode.TEXT, orjson.dumps(content, default=str)).serialize(mask=False)

    @cached_property
    def event(self) -> bytes:
        """As a Server-Sent Event."""
        name = b"" if self.cursor is None else b"id: %s\n" % self.cursor.encode()
        data = orjson.dumps(self.data, default=str)
        return b"%sevent: %s\ndata: %s\n\n" % (name, self.kind.encode(), data)


class Facts(NamedTuple):
    """By what an alert is chosen."""

    site: str | None
    severity: str
    rule_id: UUID
    pack: str | None
    security: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class AlertEvent:
    """Something that happened to an alert: where it stands in the log, by what it is chosen, and its data."""

    partition_no: int
    seq: int
    facts: Facts
    data: dict[str, Any]


def event_of(row: Row) -> AlertEvent:
    """The event of a row of the alert log."""
    alert = shown({name: value for name, value in row.items() if name not in _BESIDE_ALERT})
    event = {name: row[name] for name in _OF_EVENT} | {"value": row["event_value"]}
    return AlertEvent(row["partition_no"], row["seq"], facts_of(row), {"event": event, "alert": alert})


def facts_of(row: Row) -> Facts:
    """By what the alert of a row is chosen."""
    return Facts(row["site"], row["severity"], row["rule_id"], row["pack"], row["security_kind"] is not None)
