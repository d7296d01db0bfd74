"""What names in bodies and answers mean, said once for all schemas that have them.

A field that says more of itself than its name tells has its own description, which stands before these.
"""

from collections.abc import Iterator
from typing import Any, Final

Described = dict[str, Any]

MEANS: Final[dict[str, str]] = {
    "acknowledged": "how many somebody has acknowledged",
    "acknowledged_at": "when it was acknowledged; null when nobody has",
    "acknowledged_by": "who acknowledged it; null when nobody has",
    "actions": "what people did with it, oldest first",
    "after_s": "silence in seconds from which it is missing",
    "aliases": "other names of keys, each with the key that it stands for",
    "assignee": "who is to look after it; null when nobody is",
    "at": "when it was done",
    "attempted_at": "when the last attempt was made; null before the first",
    "attempts": "how often it was tried so far",
    "batch": "id of the batch: that of its receipt",
    "by": "what the groups are made by",
    "channel_id": "id of the channel",
    "chemistry": "chemistry of the cells",
    "clear_limit": "value at which it is over again, in the measure's unit",
    "clear_limit_v": "difference of the cells in volts at which it is over again",
    "clear_reason": "why it is over; null while it is open",
    "cleared": "how many are over",
    "cleared_at": "when it was over; null while it is open",
    "clock_skew_s_max": "seconds in the future from which a pack's clock counts as skewed",
    "comment": "what somebody wrote",
    "condition": "what must hold of the readings",
    "conflicting": "readings of which another value is stored for the same moment; they were set aside",
    "created": "how many are new",
    "created_at": "when it was made",
    "created_by": "who made it",
    "critical": "how many are critical",
    "crossing": "when the line reaches the threshold",
    "description": "what it is for, in your words",
    "disk": "how much room is left",
    "dry_run": "whether nothing was changed",
    "duplicate": "readings that were there already, with the same values",
    "during": "a condition besides, which must hold meanwhile",
    "duration_s": "seconds for which it must hold before the alert is raised",
    "effective_from": "from when on it holds",
    "enabled": "whether it is switched on",
    "ended_at": "when it was delivered or given up; null before",
    "errors": "every field that is wrong",
    "events": "kinds of events that it takes",
    "existing": "how many were there already",
    "expires_at": "until when it can be used",
    "failing_since": "since when every attempt has failed; null when the last one did not",
    "field": "the field that is wrong",
    "filter": "which items are meant",
    "finished_at": "when it was done; null before",
    "first_at": "when it came for the first time",
    "flapping": "whether it is raised and over so often that it is one alert until it rests",
    "free_bytes": "bytes that are free",
    "from": "from this moment on",
    "future_s": "seconds in the future from which a clock counts as skewed",
    "group": "name of the group",
    "groups": "one entry for each group",
    "hold_critical": "whether critical events wait for the end of the quiet hours too",
    "id": "id that never changes",
    "ids": "ids of the items",
    "import": "id of the import",
    "info": "how many are for information",
    "items": "the entries, in order",
    "items_max": "how many are too many",
    "key": "what this group is of",
    "kind": "which kind it is",
    "last_at": "when it came for the last time",
    "late": "whether it is of readings that came late",
    "latest": "latest value of each measure",
    "limit": "what it may be at most, or at least",
    "limit_per_s": "change in a second from which it is too fast, in the measure's unit",
    "limit_v": "difference of the cells in volts from which they are out of balance",
    "limit_value": "what it may be at most, or at least",
    "limits": "range of each measure beyond which a reading can't be true",
    "maintenance": "whether it falls into announced maintenance",
    "max": "the largest",
    "max_gap_s": "seconds between two readings beyond which nothing is said of what was between",
    "maximum": "the largest value that is taken",
    "mean": "the mean",
    "mean_s": "the mean, in seconds",
    "measure": "the measure",
    "measures": "which measures of the readings are meant; all by default",
    "message": "what is wrong with it",
    "messages": "what is sent, as the receiver gets it",
    "min": "the smallest",
    "minimum": "the smallest value that is taken",
    "model": "name of the model; null for none",
    "muted": "whether nobody is told of it",
    "name": "name, unique among those of the tenant",
    "never_seen": "packs that never sent a reading",
    "next_cursor": "gives the next page as `cursor`; null on the last one",
    "number": "number that grows with each version",
    "onset": "moment of the reading with which it began",
    "open": "how many are open",
    "p25": "a quarter is at most so much",
    "p5": "one in twenty is at most so much",
    "p50": "half are at most so much",
    "p50_s": "half took at most so many seconds",
    "p75": "three quarters are at most so much",
    "p90_s": "nine in ten took at most so many seconds",
    "p95": "nineteen in twenty are at most so much",
    "p99_s": "ninety-nine in a hundred took at most so many seconds",
    "pack": "external id of the pack: the tenant's own name for it",
    "packs": "the packs meant, or how many they are",
    "packs_beyond_limit": "packs whose clock is skewed by more than the limit",
    "partition": "number of the partition",
    "place": "where in the file it stands",
    "problem": "what is wrong with it",
    "problems": "what is wrong, entry by entry; nothing is changed while there is one",
    "provisional": "whether readings that are still to come could change it",
    "quarantined": "readings that were set aside, each with a reason",
    "quiet": "hours in which events wait for a digest; null for none",
    "raised": "how many were raised",
    "raised_at": "when it was raised",
    "raises_max": "raises within the window from which it is flapping",
    "rated_capacity_ah": "capacity when new, in ampere-hours",
    "raw": "the reading as it came, cut when it is long",
    "readings": "how many readings",
    "reason": "why",
    "received": "readings that came",
    "accepted": "readings that are new and stored",
    "region": "region of the site; null for none",
    "reporting": "packs that sent a reading lately",
    "requested_at": "when it was asked for",
    "row": "row of the file, the first after the header being 1",
    "rows": "rows of the file",
    "rule": "name of the rule",
    "rule_id": "id of the rule",
    "rule_time": "moment of the reading by which the rule decided",
    "rule_version": "version of the rule that raised it",
    "rules": "the rules meant",
    "scope": "for which packs it holds",
    "selected": "how many items were picked",
    "severities": "severities that it takes; null for all",
    "severity": "how grave it is",
    "side": "on which side of the limit it is wrong",
    "silence_id": "id of the silence that it falls into; null for none",
    "silent": "packs that have not sent a reading lately",
    "silent_after_s": "seconds without a reading after which a pack is silent",
    "site": "name of the site; null for none",
    "slope_per_day": "change of the line in a day, with the interval in which it lies",
    "source": "who sent the readings",
    "state": "what has become of it so far",
    "status": "what has become of it so far",
    "subject": "who asked for it",
    "tenures": "who held it, where, and from when to when, oldest first",
    "threshold": "the value that was asked for, and when it is crossed",
    "ticket": "text that opens one connection",
    "times": "how often it came",
    "to": "before this moment",
    "transitions": "how it was raised and ended, oldest first",
    "trend": "the direction in which it is too fast",
    "ts": "moment of the reading",
    "unchanged": "how many are as they were",
    "unit": "unit of the value",
    "units": "unit of each column",
    "url": "address that is told",
    "used": "how many points the figures rest on",
    "value": "the value, in the unit beside it",
    "values": "values by measure",
    "version": "grows with each change; the entity tag",
    "voltage_max_v": "highest voltage of a healthy pack, in volts",
    "voltage_min_v": "lowest voltage of a healthy pack, in volts",
    "warning": "how many are warnings",
    "width": "width of a step, in the measure's unit",
    "window_s": "seconds in which they are counted",
    "withdrawn": "how many were taken back, because the readings behind them were",
    "zone": "time zone of the site, by its IANA name",
}

_COUNTS: Final = {
    "late": "how many are of readings that came late",
    "flapping": "how many are flapping",
    "muted": "how many nobody was told of",
}
_RECIPIENTS: Final = "addresses that get an e-mail; null for a webhook"

SPECIAL: Final[dict[str, dict[str, str]]] = {
    "Channel": {"to": _RECIPIENTS},
    "ChannelChange": {"to": _RECIPIENTS},
    "ChannelWithSecret": {"to": _RECIPIENTS},
    "Distribution": {"packs": "how many packs it is of"},
    "GroupSums": _COUNTS | {"id": "id of what this group is of; null where it has none"},
    "Health": {"status": "`alive`"},
    "Histogram": {"packs": "how many packs are in each step, from the first on"},
    "Import": {"source": "where its readings come from, in the words of whoever began it"},
    "NewEmail": {"to": "addresses that get an e-mail"},
    "OpenAlerts": {"muted": "how many nobody was told of"},
    "Redriven": {"late": "readings that came late"},
    "RuleProblem": {"name": "name of the rule that is wrong"},
    "Sums": _COUNTS,
}
"""What names mean in one schema only."""

STATUS_MEANS: Final[dict[str, str]] = {
    "200": "Here it is.",
    "201": "It is made.",
    "202": "It is safe, and goes on.",
    "204": "It is done, and there is nothing to say.",
    "207": "The readings that are right are stored; the others are set aside, each with a reason.",
}


def describe(document: Described) -> None:
    """Say of every answer and property what it is, where it doesn't say so itself."""
    for name, schema in document["components"]["schemas"].items():
        for owner in objects_in(schema):
            for key, property_ in owner["properties"].items():
                known = SPECIAL.get(name, {}).get(key) or MEANS.get(key)
                if known is not None and not property_.get("description"):
                    property_["description"] = known
    for methods in document["paths"].values():
        for operation in methods.values():
            for status, answer in operation["responses"].items():
                if answer.get("description") == "Successful Response":
                    answer["description"] = _answer_of(operation, status)


def _answer_of(operation: Described, status: str) -> str:
    """An answer as its operation's summary tells it: what is read, or that it was done."""
    return f"{operation['summary']}: {STATUS_MEANS[status][0].lower()}{STATUS_MEANS[status][1:]}"


def objects_in(schema: Any) -> Iterator[Described]:
    """A schema and those inside it that have properties."""
    if isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict):
            yield schema
        for key, inner in schema.items():
            if key == "properties":
                for property_ in inner.values():
                    yield from objects_in(property_)
            elif key in ("items", "additionalProperties"):
                yield from objects_in(inner)
            elif key in ("anyOf", "oneOf", "allOf"):
                for one in inner:
                    yield from objects_in(one)
