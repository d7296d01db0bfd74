"""Use cases of alert rules."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from api.call import Call
from api.ranges import require_range
from api.rules import schemas
from domain.alert_rules import (
    Condition,
    Flapping,
    MissingData,
    QuarantineGrowth,
    Rule,
    RuleVersion,
    Scope,
    ScopeKind,
    Severity,
    checked,
    checked_flapping,
    condition_facts,
    reach_s,
    read_condition,
    value_unit,
)
from domain.alerts import AlertTransition, SetAside
from domain.clock import to_ms
from domain.errors import InvalidRequestError
from domain.readings import LiveReadings
from domain.rule_templates import Chemistry, templates
from storage import alert_rules as stored
from storage import packs as stored_packs
from storage.alerting import fold_alerts
from storage.records import MODELS, SITES
from storage.retention import MARGIN, require_kept
from storage.transactions import Transaction
from streams.alerting import evaluate
from streams.overdue import overdue
from streams.quarantine_growth import GrowthMemory, grow
from streams.rule_book import RuleBook
from streams.rule_memory import RuleMemory

Row = dict[str, Any]

_PREVIEWED = 0
"""Number of the rule that is previewed; stored rules begin at 1."""

_SHOWN = (
    "onset", "raised_at", "cleared_at", "state", "clear_reason", "severity", "value", "flapping", "late",
    "provisional", "source",
)  # fmt: skip


async def create(call: Call, new: schemas.NewRule) -> Row:
    """The new rule. Raises InvalidRequestError, NotFoundError (scope), ConflictError (name, number of rules)."""
    said = said_by(new)
    async with call.transaction() as transaction:
        scope = await scope_of(transaction, new.scope)
        row = await stored.create(
            transaction, new.name, scope, said, call.engine.clock.now_ms, call.engine.settings.rules_max
        )
    return public(row)


def said_by(new: schemas.NewRule) -> stored.NewVersion:
    """What the first version of a new rule says. Raises InvalidRequestError."""
    return stored.NewVersion(
        new.enabled, Severity(new.severity), _condition(new.condition), _flapping(new.flapping)
    )


def _condition(given: schemas.Condition) -> Condition:
    try:
        return checked(read_condition(given.model_dump()))
    except InvalidRequestError as error:
        raise InvalidRequestError(
            error.detail, field=f"condition.{error.field}", limit=error.limit
        ) from error


def _flapping(given: schemas.Flapping) -> Flapping:
    return checked_flapping(Flapping(given.raises_max, given.window_s))


async def scope_of(transaction: Transaction, given: schemas.Scope) -> Scope:
    """The packs that are meant. Raises NotFoundError."""
    kind = ScopeKind(given.kind)
    if isinstance(given, schemas.SiteScope):
        return Scope(kind, await SITES.id_of(transaction, given.site, "site"))
    if isinstance(given, schemas.ModelScope):
        return Scope(kind, await MODELS.id_of(transaction, given.model, "model"))
    if isinstance(given, schemas.PackScope):
        pack = await stored_packs.get_by_name(transaction, given.pack)
        return Scope(kind, pack=pack["pack_id"])
    return Scope(kind)


async def get(call: Call, rule_id: UUID) -> Row:
    """The rule. Raises NotFoundError."""
    async with call.snapshot() as transaction:
        return public(await stored.get(transaction, rule_id))


async def page(call: Call, cursor: str | None, limit: int) -> tuple[list[Row], str | None]:
    """Rules by name, and the cursor of the next page."""
    async with call.snapshot() as transaction:
        rows, after = await stored.page(transaction, cursor, limit)
    return [public(row) for row in rows], after


async def change(call: Call, rule_id: UUID, version: int, changes: schemas.RuleChange) -> Row:
    """The changed rule: with its next version, unless only its name changes.

    Raises NotFoundError, PreconditionFailedError, ConflictError (name), InvalidRequestError.
    """
    given = changes.model_fields_set

    def decide(before: Row) -> tuple[str, stored.NewVersion | None]:
        name = changes.name if "name" in given else before["name"]
        was = stored.NewVersion(
            before["enabled"],
            Severity(before["severity"]),
            read_condition(before["condition"]),
            Flapping(before["flap_raises_max"], before["flap_window_s"]),
        )
        said = was
        if changes.condition is not None:
            said = replace(said, condition=_condition(changes.condition))
            if type(said.condition) is not type(was.condition):
                raise InvalidRequestError(
                    "the kind of a rule stays: make another rule", field="condition.kind"
                )
        if "severity" in given:
            said = replace(said, severity=Severity(changes.severity))
        if "enabled" in given:
            said = replace(said, enabled=changes.enabled)
        if "flapping" in given:
            said = replace(said, flapping=_flapping(changes.flapping))
        return name, None if said == was else said

    async with call.transaction() as transaction:
        row = await stored.change(transaction, rule_id, version, decide, call.engine.clock.now_ms)
    return public(row)


async def versions(call: Call, rule_id: UUID, cursor: str | None, limit: int) -> tuple[list[Row], str | None]:
    """A rule's versions, oldest first. Raises NotFoundError."""
    async with call.snapshot() as transaction:
        rows, after = await stored.versions(transaction, rule_id, cursor, limit)
    return [_version(row) | {"created_by": row["created_by"]} for row in rows], after


def _version(row: Row) -> Row:
    return {
        "number": row["number"],
        "effective_from": row["effective_from"],
        "enabled": row["enabled"],
        "severity": row["severity"],
        "condition": row["condition"],
        "flapping": {"raises_max": row["flap_raises_max"], "window_s": row["flap_window_s"]},
    }


def public(row: Row) -> Row:
    """A rule as it is answered."""
    scope = {"kind": row["scope"]}
    if row["scope"] != ScopeKind.TENANT:
        scope[row["scope"]] = row["scope_name"]
    shown = {name: row[name] for name in ("id", "name", "created_at", "version")}
    return shown | {"scope": scope} | _version(row)


def templates_for(chemistry: str) -> list[Row]:
    """The rules to begin with for packs of a chemistry."""
    return [
        {
            "name": template.name,
            "severity": str(template.severity),
            "condition": condition_facts(template.condition),
        }
        for template in templates(Chemistry(chemistry))
    ]


async def preview(call: Call, asked: schemas.Preview) -> Row:
    """The alerts that a live run of the rule over stored readings would have given.

    Of more readings than the budget the newest are taken, and the span begins later. Raises InvalidRequestError: an
    empty span, more batches than the budget, or a look back that takes all of it; NotFoundError for the scope;
    ArchivedError for readings that aren't kept, the rule's look back included.
    """
    require_range(asked.starts, asked.ends)
    condition, starts = _condition(asked.condition), asked.starts
    async with call.snapshot() as transaction:
        scope = await scope_of(transaction, asked.scope)
        before = _earlier(starts, reach_s(condition))
        if isinstance(condition, QuarantineGrowth):
            batches = await _set_aside(call, transaction, before, asked.ends)
            book = _book(call, asked, scope, condition, starts)
            made, count = list(grow(batches, GrowthMemory(), book).changes.transitions), len(batches)
        else:
            scopes = await stored.tenures_in(transaction, scope)
            packs_in = {one.pack for one in scopes}
            heard = stored.Heard(asked.imports)
            await require_kept(transaction, max(starts, before + MARGIN))
            readings_max = call.engine.settings.preview_readings_max
            within = (asked.ends, readings_max, heard)
            looks_back = starts - before
            before = await stored.newest_from(transaction, packs_in, before, *within)
            starts = before + looks_back
            if starts >= asked.ends:
                raise _too_many(readings_max)
            book = _book(call, asked, scope, condition, starts)
            book.learn(scopes)
            live = await stored.live_readings(transaction, packs_in, before, *within)
            count = len(live)
            if isinstance(condition, MissingData):
                # However long ago a pack was heard, its silence began then.
                live = (await stored.last_live_readings(transaction, packs_in, before, heard)).then(live)
            ends_ms = min(to_ms(asked.ends), call.engine.clock.now_ms())
            made = await asyncio.to_thread(_run, live, book, to_ms(before), ends_ms)
        packs = {one.subject.pack for one in made if one.subject.pack is not None}
        names = await stored.pack_names(transaction, packs)
    unit = value_unit(condition)
    alerts = fold_alerts(made, 0)[0]
    items = [
        {name: row[name] for name in _SHOWN} | {"pack": names.get(row["pack_id"]), "unit": unit}
        for row in sorted(alerts, key=lambda row: (row["onset"], row["seq"]))
    ]
    return {"items": items, "readings": count, "from": starts}


def _book(
    call: Call, asked: schemas.Preview, scope: Scope, condition: Condition, starts: datetime
) -> RuleBook:
    """The rule that is previewed, which holds from the start of the span on."""
    version = RuleVersion(
        1, to_ms(starts), enabled=True, severity=Severity(asked.severity), condition=condition,
        flapping=_flapping(asked.flapping),
    )  # fmt: skip
    return RuleBook([Rule(_PREVIEWED, call.actor.tenant_id, scope, (version,))])


def _earlier(moment: datetime, seconds: int) -> datetime:
    """A moment so many seconds before, or the first that there is."""
    first = datetime.min.replace(tzinfo=UTC)
    return moment - min(timedelta(seconds=seconds), moment - first)


async def _set_aside(
    call: Call, transaction: Transaction, starts: datetime, ends: datetime
) -> list[SetAside]:
    batches_max = call.engine.settings.preview_readings_max
    batches = await stored.set_aside(transaction, starts, ends, batches_max + 1)
    if len(batches) > batches_max:
        raise _too_many(batches_max)
    return batches


def _too_many(most: int) -> InvalidRequestError:
    return InvalidRequestError(
        f"more than {most} readings: ask for a shorter span or fewer packs", field="to", limit=most
    )


def _run(live: LiveReadings, book: RuleBook, up_since_ms: int, ends_ms: int) -> list[AlertTransition]:
    """The transitions of a live run: over the readings, and of the timer at the end."""
    memory = RuleMemory()
    outcome = evaluate(live, memory, book)
    made = list(outcome.changes(book, live).transitions)
    outcome.apply(memory)
    silent = overdue(ends_ms, memory, book, up_since_ms)
    if silent is not None:
        made += silent.changes(book).transitions
    return made
