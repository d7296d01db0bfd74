"""Shapes of alerts."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel, Field, StringConstraints

from api.routing import Name, PageOf, Strict

StateName = Literal["open", "cleared", "withdrawn"]
SeverityName = Literal["info", "warning", "critical"]


class AlertsAsked(PageOf):
    """Which alerts are asked for."""

    state: Annotated[StateName | None, Query(description="only alerts in this state")] = None
    severity: Annotated[SeverityName | None, Query(description="only alerts of this severity")] = None
    pack: Annotated[Name | None, Query(description="external id of the pack")] = None
    rule: Annotated[UUID | None, Query(description="id of the rule")] = None


class Alert(BaseModel):
    """What a rule found: one for each rule version, pack (or source) and onset."""

    id: UUID
    rule_id: UUID
    rule: Annotated[str, Field(description="name of the rule")]
    rule_version: int
    pack: str | None
    source: Annotated[str | None, Field(description="of what was set aside; null for all, and for packs")]
    site: Annotated[str | None, Field(description="where the pack was")]
    onset: Annotated[str, Field(description="rule time at which the breach began")]
    raised_at: Annotated[str, Field(description="rule time at which it had lasted long enough")]
    cleared_at: str | None
    state: StateName
    clear_reason: str | None
    severity: SeverityName
    value: float | None
    unit: str
    flapping: Annotated[bool, Field(description="raised so often that it clears late")]
    late: Annotated[bool, Field(description="shown by a reading that came too late to change a state")]
    provisional: Annotated[bool, Field(description="silence that the next reading has yet to confirm")]
    muted: bool
    maintenance: bool
    silence_id: UUID | None
    acknowledged_by: str | None
    acknowledged_at: str | None
    assigned_to: Annotated[str | None, Field(description="who is to see to it, by the name that was given")]
    version: int


class AlertPage(BaseModel):
    items: list[Alert]
    next_cursor: str | None


class Transition(BaseModel):
    kind: str
    reason: str
    rule_time: str
    value: float | None
    flapping: bool


class Action(BaseModel):
    """What somebody did with an alert."""

    kind: Literal["acknowledged", "assigned", "commented"]
    at: str
    subject: Annotated[str, Field(description="who did it")]
    assignee: str | None
    comment: str | None


class AlertDetail(Alert):
    """An alert with what happened to it, and what people did with it, oldest first."""

    transitions: list[Transition]
    actions: list[Action]


class Assignment(Strict):
    """Who is to see to an alert."""

    assignee: Annotated[Name | None, Field(description="any name that means something to you; null: nobody")]


class Comment(Strict):
    comment: Annotated[
        str,
        StringConstraints(
            min_length=1, max_length=4000, pattern=r"^[^\x00]*[^\s\x00][^\x00]*$", strip_whitespace=False
        ),
    ]
