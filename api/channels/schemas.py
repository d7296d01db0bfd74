"""Shapes of channels."""

from datetime import time
from typing import Annotated, Literal, get_args
from uuid import UUID

from fastapi import Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from api.routing import Moment, Name, Strict
from api.sites.schemas import Zone

KindName = Literal["webhook", "email"]
ToldName = Literal["raised", "provisional", "cleared", "withdrawn"]
"""Told unless a channel says otherwise. A silent pack's alert is provisional until the pack speaks again."""

EventName = Literal[ToldName, "late", "acknowledged", "assigned", "commented"]
SeverityName = Literal["info", "warning", "critical"]
DayName = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
EndedName = Literal["dead", "delivered"]

_LocalTime = Annotated[
    str, StringConstraints(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$"), Field(description="HH:MM of the zone")
]
_Events = Annotated[
    list[EventName],
    Field(
        min_length=1,
        max_length=20,
        description="what is told; by default raised, provisional, cleared and withdrawn",
    ),
]
_Severities = Annotated[list[SeverityName] | None, Field(min_length=1, description="null: all")]
_Rules = Annotated[
    list[Annotated[UUID, Field(strict=False)]] | None, Field(min_length=1, description="ids; null: all")
]
_Sites = Annotated[
    list[Name] | None, Field(min_length=1, description="names or ids; null: all, and what is at no site")
]
_Muted = Annotated[bool, Field(description="tell of muted alerts too")]
_SecurityAlerts = Annotated[
    bool,
    Field(
        description="tell of alerts about refusals too; only who may do `security:read` sets it, and edits such a"
        " channel"
    ),
]
_Url = Annotated[str, Field(min_length=1, max_length=2000, examples=["https://hooks.example.org/bpm"])]
_Recipients = Annotated[list[Name], Field(min_length=1, examples=[["ops@example.org"]])]


class QuietHours(Strict):
    """Events within wait for their end and come as one digest. Critical ones come at once, unless they are held too."""

    zone: Zone
    starts: Annotated[_LocalTime, Field(alias="from", examples=["22:00"])]
    ends: Annotated[
        _LocalTime,
        Field(alias="to", description="of the next day when it isn't later than `from`", examples=["07:00"]),
    ]
    days: Annotated[
        list[DayName], Field(min_length=1, max_length=7, description="on which they begin; by default all")
    ] = Field(default_factory=lambda: list(get_args(DayName)))
    hold_critical: bool = False


def _with_length(quiet: QuietHours | None) -> QuietHours | None:
    if quiet is not None and time.fromisoformat(quiet.starts) == time.fromisoformat(quiet.ends):
        raise ValueError("`from` and `to` are the same time")
    return quiet


_Quiet = Annotated[
    QuietHours | None, AfterValidator(_with_length), Field(description="null: events come at any time")
]


class _Chosen(Strict):
    """Which alerts a channel tells of."""

    name: Name
    enabled: bool = True
    events: _Events = Field(default_factory=lambda: list(get_args(ToldName)))
    severities: _Severities = None
    rules: _Rules = None
    sites: _Sites = None
    muted: _Muted = False
    security_alerts: _SecurityAlerts = False
    quiet: _Quiet = None


class NewWebhook(_Chosen):
    """A URL that is sent Standard Webhooks (signed POST requests)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"kind": "webhook", "name": "pager", "url": "https://hooks.example.org/bpm"}]
        }
    )

    kind: Literal["webhook"]
    url: _Url


class NewEmail(_Chosen):
    """Addresses that are sent e-mails."""

    kind: Literal["email"]
    to: _Recipients


NewChannel = Annotated[NewWebhook | NewEmail, Field(discriminator="kind")]


class ChannelChange(Strict):
    """What changes; the kind stays."""

    name: Name = ""
    enabled: bool = True
    url: _Url = ""
    to: _Recipients = Field(default_factory=list)
    events: _Events = Field(default_factory=list)
    severities: _Severities = None
    rules: _Rules = None
    sites: _Sites = None
    muted: _Muted = False
    security_alerts: _SecurityAlerts = False
    quiet: _Quiet = None


class Channel(BaseModel):
    """A way out of the building for alerts, without its secret."""

    id: UUID
    name: str
    kind: KindName
    enabled: bool
    disabled_reason: Annotated[
        str | None, Field(description="why the engine switched it off; null when people did, or nobody")
    ]
    url: str | None
    to: list[str] | None
    events: list[EventName]
    severities: list[SeverityName] | None
    rules: list[UUID] | None
    sites: Annotated[list[str] | None, Field(description="names")]
    muted: bool
    security_alerts: Annotated[bool, Field(description="whether it tells of alerts about refusals too")]
    quiet: QuietHours | None
    failures: Annotated[int, Field(description="attempts in a row that failed")]
    failing_since: str | None
    former_secret_until: Annotated[
        str | None, Field(description="until when the secret that was rotated signs too")
    ]
    created_by: str
    created_at: str
    version: int


class ChannelWithSecret(Channel):
    """A channel as it is made, or as its secret is rotated: the only times that the secret is shown."""

    secret: Annotated[str | None, Field(description="whsec_…; null for e-mail")]


class ChannelPage(BaseModel):
    items: list[Channel]
    next_cursor: str | None


class ReplayAsked(BaseModel):
    """Which deliveries are queued once more: those made in from <= t < to."""

    starts: Annotated[Moment, Query(alias="from")]
    ends: Annotated[Moment, Query(alias="to")]
    state: Annotated[
        list[EndedName], Query(description="dead ones, if nothing is said; may repeat", max_length=2)
    ] = ["dead"]


class Replayed(BaseModel):
    queued: Annotated[int, Field(description="deliveries that wait again")]
    more: Annotated[bool, Field(description="whether there may be others: ask again")]
