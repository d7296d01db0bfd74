"""Rules as a file: exported as YAML, and imported again, all or none, by their names."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from psycopg.rows import DictRow
from pydantic import ValidationError

from api.call import Call
from api.rules import schemas
from api.rules.service import public, said_by, scope_of
from api.yaml_text import read_yaml, write_yaml
from domain.alert_rules import Flapping, Scope, ScopeKind, Severity, read_condition
from domain.errors import ConflictError, InvalidRequestError, NotFoundError
from storage import alert_rules as stored
from storage.alert_rules import NewVersion
from storage.transactions import Transaction

Row = dict[str, Any]

_EXPORTED = ("name", "scope", "severity", "enabled", "condition", "flapping")


async def export(call: Call) -> bytes:
    """All rules that the actor sees, as `import_rules` takes them."""
    async with call.snapshot() as transaction:
        rows = await stored.every(transaction)
    return await asyncio.to_thread(write_yaml, {"rules": [_exported(public(row)) for row in rows]})


def _exported(rule: Row) -> Row:
    condition = {name: value for name, value in rule["condition"].items() if value is not None}
    return {name: rule[name] for name in _EXPORTED} | {"condition": condition}


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A rule of the file: its place, and what it says."""

    place: int
    name: str
    scope: Scope
    said: NewVersion


async def import_rules(call: Call, body: bytes, *, dry_run: bool) -> schemas.RulesImported:
    """What was done with the rules of a file, or would be: all of them, or none when there are problems.

    Rules are known by their names: a new one is created, one that says otherwise gets its next version, and one that
    says the same stays. Rules that the file doesn't name stay too.
    Raises BodyUnreadableError, BodyTooLargeError, InvalidRequestError (no list of rules), ConflictError (too many).
    """
    total, given, problems = _shaped(await asyncio.to_thread(read_yaml, body))
    begin: Callable[[], Any] = call.snapshot if dry_run or problems else call.transaction
    async with begin() as transaction:
        wanted = [
            one
            for place, rule in given
            if (one := await _wanted(transaction, place, rule, problems)) is not None
        ]
        if not (dry_run or problems):
            await stored.hold(transaction)
        known = {row["name"]: row for row in await stored.every(transaction)}
        outcomes = [_outcome(one, known.get(one.name), problems) for one in wanted]
        rules_max = call.engine.settings.rules_max
        if len(known) + outcomes.count("created") > rules_max:
            raise ConflictError(f"more than {rules_max} rules in all", limit=rules_max)
        if not (dry_run or problems):
            await _write(call, transaction, wanted, known)
    return schemas.RulesImported(
        dry_run=dry_run,
        rules=total,
        created=0 if problems else outcomes.count("created"),
        changed=0 if problems else outcomes.count("changed"),
        unchanged=0 if problems else outcomes.count("unchanged"),
        problems=sorted(problems, key=lambda problem: problem.place),
    )


def _shaped(
    content: Any,
) -> tuple[int, list[tuple[int, schemas.NewRule]], list[schemas.RuleProblem]]:
    """How many rules there are; those of a rule's shape, with their places; and what is wrong with the others."""
    if not isinstance(content, dict) or set(content) != {"rules"} or not isinstance(content["rules"], list):
        raise InvalidRequestError(
            "the body is a list of rules under `rules`, and nothing else", field="rules"
        )
    good: list[tuple[int, schemas.NewRule]] = []
    problems: list[schemas.RuleProblem] = []
    first: dict[str, int] = {}
    for place, rule in enumerate(content["rules"]):
        try:
            read = schemas.NewRule.model_validate(rule)
        except ValidationError as error:
            found = error.errors()[0]
            field = ".".join(map(str, found["loc"])) or None
            message = str(found["msg"]).removeprefix("Value error, ")
            problems.append(schemas.RuleProblem(place=place, name=None, field=field, problem=message))
            continue
        if read.name in first:
            text = f"the name stands in rule {first[read.name]} too"
            problems.append(schemas.RuleProblem(place=place, name=read.name, field="name", problem=text))
            continue
        first[read.name] = place
        good.append((place, read))
    return len(content["rules"]), good, problems


async def _wanted(
    transaction: Transaction, place: int, rule: schemas.NewRule, problems: list[schemas.RuleProblem]
) -> _Wanted | None:
    """The rule with its scope found; None, and a problem, for one that can't be."""
    try:
        said = said_by(rule)
        return _Wanted(place, rule.name, await scope_of(transaction, rule.scope), said)
    except NotFoundError as error:
        field, problem = f"scope.{rule.scope.kind}", error.detail
    except InvalidRequestError as error:
        field, problem = error.field or "condition", error.detail
    problems.append(schemas.RuleProblem(place=place, name=rule.name, field=field, problem=problem))
    return None


def _outcome(wanted: _Wanted, before: DictRow | None, problems: list[schemas.RuleProblem]) -> str:
    if before is None:
        return "created"
    was = _said_before(before)
    field = None
    if type(was.condition) is not type(wanted.said.condition):
        field = "condition.kind"
    elif _scope_before(before) != wanted.scope:
        field = "scope"
    if field is not None:
        text = f"the {field} of a rule stays: give the rule another name"
        problems.append(schemas.RuleProblem(place=wanted.place, name=wanted.name, field=field, problem=text))
    return "unchanged" if was == wanted.said else "changed"


def _said_before(row: DictRow) -> NewVersion:
    return NewVersion(
        row["enabled"],
        Severity(row["severity"]),
        read_condition(row["condition"]),
        Flapping(row["flap_raises_max"], row["flap_window_s"]),
    )


def _scope_before(row: DictRow) -> Scope:
    kind = ScopeKind(row["scope"])
    record = row["site_id"] if kind is ScopeKind.SITE else row["model_id"]
    return Scope(kind, record, row["pack_id"])


async def _write(
    call: Call, transaction: Transaction, wanted: list[_Wanted], known: dict[str, DictRow]
) -> None:
    clock, rules_max = call.engine.clock, call.engine.settings.rules_max
    for one in wanted:
        before = known.get(one.name)
        if before is None:
            await stored.create(transaction, one.name, one.scope, one.said, clock.now_ms, rules_max)
        elif _said_before(before) != one.said:
            await stored.change(transaction, before["id"], before["version"], _saying(one.said), clock.now_ms)


def _saying(said: NewVersion) -> Callable[[DictRow], tuple[str, NewVersion | None]]:
    return lambda before: (before["name"], said)
