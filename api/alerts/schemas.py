"""Shapes of alerts."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from api import flat
from api.flat import Kind
from api.routing import Moment, Name, PageOf, Strict
from domain.security import SecurityKind

StateName = Literal["open", "cleared", "withdrawn"]
SeverityName = Literal["info", "warning", "critical"]


EventName = Literal[
    "raised", "provisional", "cleared", "withdrawn", "late", "acknowledged", "assigned", "commented"
]
GroupName = Literal["severity", "rule", "site", "pack", "model"]

_Severities = Annotated[
    list[SeverityName], Query(default_factory=list, max_length=3, description="one of these; may repeat")
]
_From = Annotated[Moment | None, Query(alias="from", description="`raised_at` at this time or later")]
_To = Annotated[Moment | None, Query(alias="to", description="`raised_at` before this time")]


class AlertsAsked(PageOf):
    """Which alerts are asked for: those to which all of it applies."""

    state: Annotated[StateName | None, Query(description="only alerts in this state")] = None
    severity: _Severities
    pack: Annotated[Name | None, Query(description="external id of the pack")] = None
    rule: Annotated[UUID | None, Query(description="id of the rule")] = None
    site: Annotated[Name | None, Query(description="name or id of the site where the pack was")] = None
    starts: _From = None
    ends: _To = None
    acknowledged: Annotated[bool | None, Query(description="whether somebody has acknowledged it")] = None
    assigned_to: Annotated[Name | None, Query(description="the name that was given")] = None
    flapping: Annotated[
        bool | None, Query(description="whether it is raised so often that it clears late")
    ] = None
    muted: Annotated[bool | None, Query(description="whether a silence hides it")] = None


class HistoryAsked(PageOf):
    """Which events are asked for: those with from <= `at` < to to which all of it applies."""

    starts: Annotated[Moment, Query(alias="from")]
    ends: Annotated[Moment, Query(alias="to")]
    order: Annotated[Literal["newest", "oldest"], Query(description="which come first")] = "newest"
    kind: Annotated[list[EventName], Query(default_factory=list, max_length=8, description="may repeat")]
    severity: _Severities
    pack: Annotated[Name | None, Query(description="external id of the pack")] = None
    rule: Annotated[UUID | None, Query(description="id of the rule")] = None
    site: Annotated[Name | None, Query(description="name of the site")] = None


class StatisticsAsked(BaseModel):
    """Of which alerts: those raised in from <= t < to; and by what they are grouped."""

    model_config = ConfigDict(extra="forbid")

    starts: Annotated[Moment, Query(alias="from")]
    ends: Annotated[Moment, Query(alias="to")]
    by: Annotated[GroupName, Query(description="what a group has in common")] = "severity"
    limit: Annotated[int, Query(ge=1, le=1000, description="groups, those with the most alerts")] = 100


class Happened(BaseModel):
    """Something that happened to an alert."""

    at: Annotated[str, Field(description="rule time of what rules do; of what people do, when they did it")]
    kind: EventName
    alert: Annotated[UUID, Field(description="id of the alert")]
    severity: SeverityName
    rule_id: UUID
    rule: str
    pack: str | None
    source: str | None
    site: str | None
    value: float | None
    unit: str
    reason: str | None
    subject: Annotated[str | None, Field(description="who did it")]
    assignee: str | None
    comment: str | None


class HistoryPage(BaseModel):
    items: list[Happened]
    next_cursor: str | None


class Times(BaseModel):
    """Seconds since alerts were raised; null where there is nothing to take them of."""

    mean_s: float | None
    p50_s: float | None
    p90_s: float | None
    p99_s: float | None


COUNTS = ("raised", "open", "cleared", "withdrawn", "acknowledged", "flapping", "muted", "late")


class Sums(BaseModel):
    """What became of some alerts, as they are now."""

    raised: int
    open: int
    cleared: int
    withdrawn: int
    acknowledged: int
    flapping: int
    muted: int
    late: int
    time_to_acknowledge: Times
    time_to_clear: Annotated[Times, Field(description="of cleared ones that weren't late")]


class GroupSums(Sums):
    """The same of a group. key: its name, null for what has none; id: null where there is none."""

    key: str | None
    id: UUID | None


class Statistics(BaseModel):
    """Sums of all, and of each group, the largest first."""

    starts: Annotated[str, Field(alias="from")]
    ends: Annotated[str, Field(alias="to")]
    by: GroupName
    total: Sums
    groups: list[GroupSums]
    more: Annotated[bool, Field(description="whether there are smaller groups than those")]


STATISTICS_COLUMNS = (
    flat.Field(("by",), Kind.TEXT),
    flat.Field(("from",), Kind.MOMENT),
    flat.Field(("to",), Kind.MOMENT),
    flat.Field(("more",), Kind.FLAG),
    flat.Field(("is_total",), Kind.FLAG),
    flat.Field(("key",), Kind.TEXT),
    flat.Field(("id",), Kind.TEXT),
    *(flat.Field((count,), Kind.WHOLE, "1") for count in COUNTS),
    *(
        flat.Field((times, figure), Kind.NUMBER, "s")
        for times in ("time_to_acknowledge", "time_to_clear")
        for figure in Times.model_fields
    ),
)
"""A row for all alerts, and one for each group, as CSV and Arrow."""


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
    security_kind: Annotated[
        SecurityKind | None,
        Field(
            description="of which refusals there were too many; null for what readings show. Such an alert is about no"
            " pack, and shown to those alone who may do `security:read`"
        ),
    ]


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
