"""What is said of events: as JSON for webhooks, and in words for people."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from api.delivering.emails import one_line
from api.live.frames import event_of
from domain.channels import DeliveryKind
from storage.delivering import ClaimedChannel, Delivery

Row = dict[str, Any]

_SUBJECTS_EVENTS = {
    "raised": "raised",
    "provisional": "raised (not confirmed yet)",
    "cleared": "cleared",
    "withdrawn": "withdrawn",
    "late": "was there, seen late",
    "acknowledged": "acknowledged",
    "assigned": "assigned",
    "commented": "commented on",
}


def message_of(row: Row) -> str:
    """What is said of an event of the alert log, as JSON text: the event and its alert, as live streams have them."""
    event = event_of(row)
    return orjson.dumps(
        {
            "type": f"alert.{row['kind']}",
            "timestamp": row["at"],
            "data": {"partition": event.partition_no, "seq": event.seq, **event.data},
        },
        default=str,
    ).decode()


def body_of(channel: ClaimedChannel, delivery: Delivery) -> bytes:
    """The body of a webhook: the same in every attempt."""
    if delivery.kind is DeliveryKind.EVENT:
        (said,) = delivery.messages
        return orjson.dumps(said)
    if delivery.kind is DeliveryKind.TEST:
        data: Row = {"channel": channel.name}
        return orjson.dumps({"type": "channel.test", "timestamp": delivery.created_at, "data": data})
    data = {"events": delivery.messages, "left_out": delivery.left_out}
    return orjson.dumps({"type": "alert.digest", "timestamp": delivery.quiet_until, "data": data})


def in_words(channel: ClaimedChannel, delivery: Delivery) -> tuple[str, str]:
    """The subject and the text of an e-mail."""
    if delivery.kind is DeliveryKind.TEST:
        return f"Test of {channel.name}", f"The channel {one_line(channel.name)} reaches you.\n"
    if delivery.kind is DeliveryKind.EVENT:
        (said,) = delivery.messages
        return _subject(said), "\n".join(_lines(said)) + "\n"
    count = len(delivery.messages) + delivery.left_out
    told = [" ".join((_moment(said), _subject(said))) for said in delivery.messages]
    if delivery.left_out:
        told.append(f"and {delivery.left_out} more")
    return f"{count} events in quiet hours", "\n".join(told) + "\n"


def _subject(said: Mapping[str, Any]) -> str:
    """Such as: [critical] too hot: P-1 at North raised."""
    alert, event = said["data"]["alert"], said["data"]["event"]
    about = (
        alert["pack"]
        or alert["source"]
        or ("all sources" if alert.get("security_kind") is None else "too many")
    )
    site = f" at {alert['site']}" if alert["site"] is not None else ""
    what = _SUBJECTS_EVENTS[event["kind"]]
    return one_line(f"[{alert['severity']}] {alert['rule']}: {about}{site} {what}")


def _moment(said: Mapping[str, Any]) -> str:
    return str(said["timestamp"])


def _lines(said: Mapping[str, Any]) -> Sequence[str]:
    alert, event = said["data"]["alert"], said["data"]["event"]
    lines = [_subject(said), "", f"Time: {event['at']}", f"Onset: {alert['onset']}"]
    if event["value"] is not None:
        lines.append(f"Value: {event['value']:g} {alert['unit']}")
    if event["reason"] is not None:
        lines.append(f"Reason: {event['reason']}")
    if event["subject"] is not None:
        lines.append(f"By: {one_line(event['subject'])}")
    if event["kind"] == "assigned":
        lines.append(f"To: {one_line(event['assignee'] or 'nobody')}")
    if event["comment"] is not None:
        lines += ["", event["comment"]]
    return [*lines, "", f"Alert: {alert['id']}"]
