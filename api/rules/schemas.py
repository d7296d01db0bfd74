"""Shapes of alert rules."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from api.routing import Moment, Name, Strict
from domain.alert_rules import Flapping as DomainFlapping

Number = Annotated[float, Field(allow_inf_nan=False)]
Seconds = Annotated[int, Field(ge=0, le=10**9)]
SideName = Literal["above", "below"]
SeverityName = Literal["info", "warning", "critical"]
ChemistryName = Literal["LFP", "NMC", "NCA", "LTO", "lead-acid"]


class While(Strict):
    """The threshold counts only while another measure of the same moment lies beyond this limit."""

    measure: str
    side: SideName
    limit: Number


class ThresholdCondition(Strict):
    """A measure beyond `limit`; clear again at `clear_limit`. `during` names what must hold meanwhile."""

    kind: Literal["threshold"]
    measure: str
    side: SideName
    limit: Number
    clear_limit: Number
    duration_s: Seconds = 0
    during: While | None = None


class RateCondition(Strict):
    """A change between consecutive values, at most `max_gap_s` apart, faster than `limit_per_s`."""

    kind: Literal["rate_of_change"]
    measure: str
    trend: Literal["rising", "falling", "either"]
    limit_per_s: Number
    max_gap_s: Seconds
    duration_s: Seconds = 0


class ImbalanceCondition(Strict):
    """The highest cell voltage minus the lowest of the same moment, above `limit_v`."""

    kind: Literal["cell_imbalance"]
    limit_v: Number
    clear_limit_v: Number
    duration_s: Seconds = 0


class MissingCondition(Strict):
    """No live reading of a pack for longer than `after_s`."""

    kind: Literal["missing_data"]
    after_s: Seconds


class SkewCondition(Strict):
    """Readings whose time lies more than `future_s` after their arrival."""

    kind: Literal["clock_skew"]
    future_s: Seconds


class GrowthCondition(Strict):
    """More than `items_max` readings, of all sources or of one, set aside within `window_s` of arrival."""

    kind: Literal["quarantine_growth"]
    items_max: Seconds
    window_s: Seconds
    source: Name | None = None


Condition = Annotated[
    ThresholdCondition
    | RateCondition
    | ImbalanceCondition
    | MissingCondition
    | SkewCondition
    | GrowthCondition,
    Field(discriminator="kind"),
]


class Flapping(Strict):
    """More than `raises_max` raises within `window_s` of rule time are flapping."""

    raises_max: int = DomainFlapping().raises_max
    window_s: int = DomainFlapping().window_s


class TenantScope(Strict):
    """All packs of the tenant."""

    kind: Literal["tenant"]


class SiteScope(Strict):
    """The packs at a site, by its name or id."""

    kind: Literal["site"]
    site: Name


class ModelScope(Strict):
    """The packs of a model, by its name or id."""

    kind: Literal["model"]
    model: Name


class PackScope(Strict):
    """One pack, by its external id."""

    kind: Literal["pack"]
    pack: Name


Scope = Annotated[TenantScope | SiteScope | ModelScope | PackScope, Field(discriminator="kind")]


class NewRule(Strict):
    name: Name
    scope: Scope
    severity: SeverityName
    condition: Condition
    enabled: bool = True
    flapping: Flapping = Flapping()


class RuleChange(Strict):
    """What changes; the kind of the condition and the scope stay."""

    name: Name = ""
    severity: SeverityName = "warning"
    condition: Condition | None = None
    enabled: bool = True
    flapping: Flapping = Flapping()


class Rule(BaseModel):
    """A rule with its newest version, which applies to rule times from `effective_from` on."""

    id: UUID
    name: str
    scope: dict[str, Any]
    severity: SeverityName
    condition: dict[str, Any]
    enabled: bool
    flapping: Flapping
    number: Annotated[int, Field(description="of the newest version")]
    effective_from: str
    created_at: str
    version: Annotated[int, Field(description="of the record, as in its ETag")]


class RulePage(BaseModel):
    items: list[Rule]
    next_cursor: str | None


class RuleVersion(BaseModel):
    number: int
    effective_from: str
    enabled: bool
    severity: SeverityName
    condition: dict[str, Any]
    flapping: Flapping
    created_by: str


class RuleVersionPage(BaseModel):
    items: list[RuleVersion]
    next_cursor: str | None


class Template(BaseModel):
    """A rule to begin with, to be sent with a scope."""

    name: str
    severity: SeverityName
    condition: dict[str, Any]


class TemplatePage(BaseModel):
    items: list[Template]
    next_cursor: str | None


class RuleProblem(BaseModel):
    """What is wrong with a rule of a file; `place` counts from 0."""

    place: int
    name: str | None
    field: str | None
    problem: str


class RulesImported(BaseModel):
    """What an import of rules did, or would do: all rules or none."""

    dry_run: bool
    rules: int
    created: int
    changed: Annotated[int, Field(description="those that got their next version")]
    unchanged: int
    problems: list[RuleProblem]


class Preview(Strict):
    """A rule, and the span of stored readings over which it is to run."""

    scope: Scope
    severity: SeverityName = "warning"
    condition: Condition
    flapping: Flapping = Flapping()
    starts: Annotated[Moment, Field(alias="from")]
    ends: Annotated[Moment, Field(alias="to")]
    imports: bool = Field(
        False,
        description="whether readings of imports count too, as if they had come live, in the order of their time",
    )


class PreviewedAlert(BaseModel):
    """An alert that a live run would have given."""

    pack: str | None
    source: str | None
    onset: str
    raised_at: str
    cleared_at: str | None
    state: str
    clear_reason: str | None
    severity: SeverityName
    value: float | None
    unit: str
    flapping: bool
    late: bool
    provisional: bool


class PreviewAnswer(BaseModel):
    """The alerts, oldest onset first, and how many readings were read for them."""

    items: list[PreviewedAlert]
    readings: int
    starts: Annotated[
        str,
        Field(
            alias="from",
            description="where the span began: later than asked for when there were more readings than are read",
        ),
    ]
