"""Alert rules: what they watch, for whom, and what becomes of a breach."""

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Final
from uuid import UUID

from domain.errors import InvalidRequestError
from domain.measures import MEASURE_INDEX, MEASURES, Measure
from domain.security import SecurityKind
from domain.tenancy import TenantId

DAY_S: Final = 86_400
DURATION_S_MAX: Final = 7 * DAY_S
"""Longest duration of a threshold, and longest silence that a rule of missing data waits for."""

GAP_S_MAX: Final = DAY_S
"""Two values further apart than this have no rate of change."""

FLAP_WINDOW_S_MAX: Final = DAY_S
FLAP_RAISES_MAX: Final = 16
"""Raises of one rule and pack that are remembered."""

FUTURE_S_MAX: Final = DAY_S
GROWTH_WINDOW_S_MAX: Final = 3600
GROWTH_ITEMS_MAX: Final = 1_000_000_000

CELL_HIGH: Final = "cell_voltage_max_v"
CELL_LOW: Final = "cell_voltage_min_v"


class RuleKind(StrEnum):
    """What a rule watches."""

    THRESHOLD = "threshold"
    RATE_OF_CHANGE = "rate_of_change"
    CELL_IMBALANCE = "cell_imbalance"
    MISSING_DATA = "missing_data"
    CLOCK_SKEW = "clock_skew"
    QUARANTINE_GROWTH = "quarantine_growth"
    SECURITY_EVENTS = "security_events"


class Severity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class Side(StrEnum):
    """On which side of its limit a value breaches."""

    ABOVE = "above"
    BELOW = "below"


class Trend(StrEnum):
    """Which changes a rate counts: growth, fall, or both by their size."""

    RISING = "rising"
    FALLING = "falling"
    EITHER = "either"


class ScopeKind(StrEnum):
    """For which packs of a tenant a rule holds."""

    TENANT = "tenant"
    SITE = "site"
    MODEL = "model"
    PACK = "pack"


class TransitionKind(StrEnum):
    """What happened to a rule's state, or was noted beside it."""

    PENDING = "pending"
    DROPPED = "dropped"
    RAISED = "raised"
    CLEARED = "cleared"
    LATE = "late"
    PROVISIONAL = "provisional"
    WITHDRAWN = "withdrawn"


class TransitionReason(StrEnum):
    """Why: a reading says so, the rule changed, the pack left the rule's scope, silence, or by hand."""

    MEASURED = "measured"
    SUPERSEDED = "superseded"
    DISABLED = "disabled"
    OUT_OF_SCOPE = "out_of_scope"
    SILENT = "silent"
    BY_HAND = "by_hand"


class AlertState(StrEnum):
    OPEN = "open"
    CLEARED = "cleared"
    WITHDRAWN = "withdrawn"


class SilenceKind(StrEnum):
    """A mute hides what is known; maintenance says that work on the pack explains it."""

    MUTE = "mute"
    MAINTENANCE = "maintenance"


@dataclass(frozen=True, slots=True)
class While:
    """A threshold counts only while another measure of the same moment lies on this side of its limit."""

    measure: str
    side: Side
    limit: float


@dataclass(frozen=True, slots=True)
class Threshold:
    """A measure beyond a limit. It breaches beyond `limit` and is clear again at `clear_limit` or this side of it.

    The limits in the measure's unit. duration_s: how long the breach must last before it is raised.
    """

    measure: str
    side: Side
    limit: float
    clear_limit: float
    duration_s: int = 0
    during: While | None = None


@dataclass(frozen=True, slots=True)
class RateOfChange:
    """A change between consecutive values, at most max_gap_s apart, faster than limit_per_s (units a second)."""

    measure: str
    trend: Trend
    limit_per_s: float
    max_gap_s: int
    duration_s: int = 0


@dataclass(frozen=True, slots=True)
class CellImbalance:
    """The highest cell voltage minus the lowest one of the same moment, above limit_v."""

    limit_v: float
    clear_limit_v: float
    duration_s: int = 0


@dataclass(frozen=True, slots=True)
class MissingData:
    """No live reading of a pack for longer than after_s."""

    after_s: int


@dataclass(frozen=True, slots=True)
class ClockSkew:
    """Readings whose time lies more than future_s after their arrival."""

    future_s: int


@dataclass(frozen=True, slots=True)
class QuarantineGrowth:
    """More than items_max readings of the tenant, or of one source, set aside within window_s of arrival."""

    items_max: int
    window_s: int
    source: str | None = None


@dataclass(frozen=True, slots=True)
class SecurityEvents:
    """per_minute_max refusals of one kind within a minute, or more; over when no minute had so many for quiet_s.

    The engine makes such rules itself, from the thresholds of a tenant.
    """

    event: SecurityKind
    per_minute_max: int
    quiet_s: int


Condition = (
    Threshold | RateOfChange | CellImbalance | MissingData | ClockSkew | QuarantineGrowth | SecurityEvents
)

KIND_OF: Final[dict[type[Condition], RuleKind]] = {
    Threshold: RuleKind.THRESHOLD,
    RateOfChange: RuleKind.RATE_OF_CHANGE,
    CellImbalance: RuleKind.CELL_IMBALANCE,
    MissingData: RuleKind.MISSING_DATA,
    ClockSkew: RuleKind.CLOCK_SKEW,
    QuarantineGrowth: RuleKind.QUARANTINE_GROWTH,
    SecurityEvents: RuleKind.SECURITY_EVENTS,
}


@dataclass(frozen=True, slots=True)
class Flapping:
    """More than raises_max raises within window_s (rule time) are flapping: the alert clears only after window_s."""

    raises_max: int = 5
    window_s: int = 3600


@dataclass(frozen=True, slots=True)
class RuleVersion:
    """A rule as it holds from a rule time on, until its next version."""

    number: int
    effective_from_ms: int
    enabled: bool
    severity: Severity
    condition: Condition
    flapping: Flapping = Flapping()


@dataclass(frozen=True, slots=True)
class Scope:
    """The packs that a rule holds for. `id` names the site or model, `pack` the number of the pack."""

    kind: ScopeKind
    id: UUID | None = None
    pack: int | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule with its versions, oldest first. `number` is its own, never reused."""

    number: int
    tenant_id: TenantId
    scope: Scope
    versions: tuple[RuleVersion, ...]


@dataclass(frozen=True, slots=True)
class Silence:
    """Alerts raised in from <= rule time < to, of a pack, at a site, by a rule, or of all, are stored as muted."""

    id: UUID
    tenant_id: TenantId
    kind: SilenceKind
    from_ms: int
    to_ms: int
    pack: int | None = None
    site_id: UUID | None = None
    rule: int | None = None


@dataclass(frozen=True, slots=True)
class TenureScope:
    """Where a tenure's pack stands for rules: whose it is, at which site, of which model, and until when."""

    number: int
    tenant_id: TenantId
    pack: int
    site_id: UUID | None
    model_id: UUID | None
    to_ms: int


def checked(condition: Condition) -> Condition:
    """The condition, when it makes sense. Raises InvalidRequestError that names field and limit."""
    match condition:
        case Threshold():
            _check_threshold(condition)
        case RateOfChange():
            measure = _measure("measure", condition.measure)
            _between("limit_per_s", condition.limit_per_s, 0.000_001, measure.maximum - measure.minimum)
            _between("max_gap_s", condition.max_gap_s, 1, GAP_S_MAX)
        case CellImbalance():
            high = MEASURES[MEASURE_INDEX[CELL_HIGH]].maximum
            _between("limit_v", condition.limit_v, 0, high)
            _between("clear_limit_v", condition.clear_limit_v, 0, condition.limit_v)
        case MissingData():
            _between("after_s", condition.after_s, 1, DURATION_S_MAX)
        case ClockSkew():
            _between("future_s", condition.future_s, 0, FUTURE_S_MAX)
        case QuarantineGrowth():
            _between("items_max", condition.items_max, 0, GROWTH_ITEMS_MAX)
            _between("window_s", condition.window_s, 1, GROWTH_WINDOW_S_MAX)
    if isinstance(condition, Threshold | RateOfChange | CellImbalance):
        _between("duration_s", condition.duration_s, 0, DURATION_S_MAX)
    return condition


def _check_threshold(condition: Threshold) -> None:
    measure = _measure("measure", condition.measure)
    _between("limit", condition.limit, measure.minimum, measure.maximum)
    if condition.side is Side.ABOVE:
        _between("clear_limit", condition.clear_limit, measure.minimum, condition.limit)
    else:
        _between("clear_limit", condition.clear_limit, condition.limit, measure.maximum)
    if condition.during is not None:
        other = _measure("during.measure", condition.during.measure)
        if other == measure:
            raise InvalidRequestError("`during` names another measure than the rule", field="during.measure")
        _between("during.limit", condition.during.limit, other.minimum, other.maximum)


def checked_flapping(flapping: Flapping) -> Flapping:
    """The limits of flapping, when they make sense. Raises InvalidRequestError that names field and limit."""
    _between("flapping.raises_max", flapping.raises_max, 1, FLAP_RAISES_MAX)
    _between("flapping.window_s", flapping.window_s, 1, FLAP_WINDOW_S_MAX)
    return flapping


def _measure(field: str, name: str) -> Measure:
    if name not in MEASURE_INDEX:
        raise InvalidRequestError(f"measures are {', '.join(MEASURE_INDEX)}", field=field)
    return MEASURES[MEASURE_INDEX[name]]


def _between(field: str, value: float, low: float, high: float) -> None:
    if value < low:
        raise InvalidRequestError(f"{field} is at least {low:g}", field=field, limit=low)
    if not value <= high:
        raise InvalidRequestError(f"{field} is at most {high:g}", field=field, limit=high)


def reach_s(condition: Condition) -> int:
    """Seconds of readings before a moment on which a rule's judgement of that moment may rest.

    >>> reach_s(MissingData(after_s=900))
    900
    """
    match condition:
        case RateOfChange():
            return condition.max_gap_s + condition.duration_s
        case MissingData():
            return condition.after_s
        case QuarantineGrowth():
            return condition.window_s
        case Threshold() | CellImbalance():
            return condition.duration_s
        case _:
            return 0


def value_unit(condition: Condition) -> str:
    """The unit of the value that an alert carries.

    >>> value_unit(ClockSkew(future_s=60))
    's'
    """
    match condition:
        case Threshold():
            return MEASURES[MEASURE_INDEX[condition.measure]].unit
        case RateOfChange():
            return MEASURES[MEASURE_INDEX[condition.measure]].unit + "/s"
        case CellImbalance():
            return "V"
        case QuarantineGrowth():
            return "items"
        case SecurityEvents():
            return "times/min"
        case _:
            return "s"


def condition_facts(condition: Condition) -> dict[str, object]:
    """The condition as plain values with its kind, as it is stored and shown; `read_condition` reads it again."""
    facts: dict[str, object] = {"kind": str(KIND_OF[type(condition)])}
    for field in fields(condition):
        value = getattr(condition, field.name)
        if isinstance(value, While):
            value = {"measure": value.measure, "side": str(value.side), "limit": value.limit}
        facts[field.name] = str(value) if isinstance(value, StrEnum) else value
    return facts


def read_condition(facts: dict[str, object]) -> Condition:
    """The condition that `condition_facts` wrote; checked already. Raises KeyError, TypeError when it is none.

    >>> read_condition(condition_facts(MissingData(600)))
    MissingData(after_s=600)
    """
    kinds = {str(kind): shape for shape, kind in KIND_OF.items()}
    shape = kinds[str(facts["kind"])]
    given: dict[str, object] = {name: value for name, value in facts.items() if name != "kind"}
    if "side" in given:
        given["side"] = Side(str(given["side"]))
    if "trend" in given:
        given["trend"] = Trend(str(given["trend"]))
    if "event" in given:
        given["event"] = SecurityKind(str(given["event"]))
    during = given.get("during")
    if isinstance(during, dict):
        given["during"] = While(during["measure"], Side(during["side"]), during["limit"])
    return shape(**given)  # type: ignore[arg-type]
