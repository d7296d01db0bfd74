"""Shapes of deliveries."""

from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel, Field

from api.routing import PageOf

DeliveryKindName = Literal["event", "digest", "test"]
DeliveryStateName = Literal["pending", "delivered", "dead"]


class DeliveriesAsked(PageOf):
    """Which deliveries are asked for."""

    channel: Annotated[UUID | None, Query(description="id of the channel")] = None
    state: Annotated[DeliveryStateName | None, Query(description="only deliveries in this state")] = None


class Delivery(BaseModel):
    """A message on its way through a channel, or at its end."""

    id: Annotated[UUID, Field(description="`webhook-id` is msg_ and this without hyphens")]
    channel_id: UUID
    channel: Annotated[str, Field(description="name of the channel")]
    kind: DeliveryKindName
    state: DeliveryStateName
    events: Annotated[int, Field(description="events of alerts that it tells")]
    left_out: Annotated[int, Field(description="events of quiet hours beyond those, which it only counts")]
    created_at: str
    due_at: Annotated[str, Field(description="of the next attempt, while it is pending")]
    attempts: int
    attempted_at: str | None
    ended_at: str | None
    status: Annotated[int | None, Field(description="that the receiver or the mail relay answered last")]
    answer: Annotated[str | None, Field(description="the beginning of its last answer")]
    error: Annotated[str | None, Field(description="why the last attempt failed")]


class DeliveryPage(BaseModel):
    items: list[Delivery]
    next_cursor: str | None


class DeliveryDetail(Delivery):
    """A delivery with what it tells of its events."""

    messages: list[dict[str, Any]]
