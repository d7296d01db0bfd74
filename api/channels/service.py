"""Use cases of channels."""

from collections.abc import Sequence
from datetime import datetime, time, timedelta
from typing import Any
from uuid import UUID, uuid4

from api.call import Call
from api.channels import schemas
from api.deliveries.service import public as public_delivery
from api.delivering.emails import checked_address
from api.delivering.signing import new_secret
from api.delivering.webhooks import checked_url
from domain.channels import ChannelKind, DeliveryState, QuietHours, Weekday
from domain.clock import from_ms
from domain.errors import ConflictError, ForbiddenError, InvalidRequestError
from domain.policy import Action
from domain.policy import decide as decide_action
from storage import channels as stored
from storage import deliveries as stored_deliveries
from storage.records import SITES
from storage.transactions import Transaction

Row = dict[str, Any]


def _now(call: Call) -> datetime:
    return from_ms(call.engine.clock.now_ms())


async def create(call: Call, new: schemas.NewWebhook | schemas.NewEmail) -> Row:
    """The new channel, with its secret.

    Raises ForbiddenError (alerts about refusals), InvalidRequestError (URL, addresses), NotFoundError (rules, sites),
    ConflictError: the name is taken, there are too many, or the installation can't do it.
    """
    _require_may_tell(call, security_alerts=new.security_alerts)
    channel_id, secret = uuid4(), None
    url, recipients = None, None
    if isinstance(new, schemas.NewWebhook):
        url, secret = _url(call, new.url), new_secret()
    else:
        recipients = _recipients(call, new.to)
    tenant_id = call.actor.tenant_id
    sealed = None if secret is None else call.engine.outside.sealer.seal(secret, tenant_id, channel_id)
    async with call.transaction() as transaction:
        facts = stored.ChannelFacts(
            new.name,
            new.enabled,
            url,
            recipients,
            tuple(dict.fromkeys(new.events)),
            _unique(call, new.severities, "severities"),
            _unique(call, new.rules, "rules"),
            await _sites(call, transaction, new.sites),
            new.muted,
            _quiet(new.quiet),
            new.security_alerts,
        )
        row = await stored.create(
            transaction,
            channel_id,
            ChannelKind(new.kind),
            facts,
            sealed,
            _now(call),
            call.engine.settings.channels_max,
        )
    return _public(row) | {"secret": secret}


def _require_may_tell(call: Call, *, security_alerts: bool) -> None:
    """Nobody has alerts sent out, or sent elsewhere, that it may not see itself."""
    if security_alerts and not (decision := decide_action(call.actor, Action.SECURITY_READ)).allowed:
        raise ForbiddenError(decision.reason)


def _url(call: Call, given: str) -> str:
    checked_url(given, call.engine.outside.webhook_limits)
    return given


def _recipients(call: Call, given: Sequence[str]) -> tuple[str, ...]:
    if not call.engine.outside.has_relay:
        raise ConflictError(
            "this installation sends no e-mails: its operator sets BPM_SMTP_HOST", field="kind"
        )
    most = call.engine.settings.channel_recipients_max
    if len(given) > most:
        raise InvalidRequestError(f"more than {most} addresses", field="to", limit=most)
    return tuple(dict.fromkeys(map(checked_address, given)))


def _unique(call: Call, given: Sequence[Any] | None, field: str) -> tuple[Any, ...] | None:
    most = call.engine.settings.channel_choices_max
    if given is not None and len(given) > most:
        raise InvalidRequestError(f"more than {most}", field=field, limit=most)
    return None if given is None else tuple(dict.fromkeys(given))


async def _sites(
    call: Call, transaction: Transaction, given: Sequence[str] | None
) -> tuple[UUID, ...] | None:
    names = _unique(call, given, "sites")
    if names is None:
        return None
    found = await SITES.ids_of(transaction, set(names), "site")
    return tuple(dict.fromkeys(site for name in names if (site := found[name]) is not None))


def _quiet(given: schemas.QuietHours | None) -> QuietHours | None:
    if given is None:
        return None
    days = frozenset(map(Weekday, given.days))
    starts, ends = time.fromisoformat(given.starts), time.fromisoformat(given.ends)
    return QuietHours(given.zone, starts, ends, days, given.hold_critical)


async def get(call: Call, channel_id: UUID) -> Row:
    """The channel. Raises NotFoundError."""
    async with call.snapshot() as transaction:
        return _public(await stored.get(transaction, channel_id))


async def page(call: Call, cursor: str | None, limit: int) -> tuple[list[Row], str | None]:
    """Channels by name, and the cursor of the next page."""
    async with call.snapshot() as transaction:
        rows, after = await stored.page(transaction, cursor, limit)
    return [_public(row) for row in rows], after


async def change(call: Call, channel_id: UUID, version: int, changes: schemas.ChannelChange) -> Row:
    """The changed channel.

    Raises ForbiddenError (alerts about refusals), NotFoundError, PreconditionFailedError, InvalidRequestError,
    ConflictError: the name is taken, or it is of the other kind.
    """
    given = changes.model_fields_set

    async with call.transaction() as transaction:
        sites = await _sites(call, transaction, changes.sites)

        def decide(before: Row) -> stored.ChannelFacts:
            told = changes.security_alerts if "security_alerts" in given else before["security_alerts"]
            _require_may_tell(call, security_alerts=told or before["security_alerts"])
            other = "to" if before["kind"] == ChannelKind.WEBHOOK else "url"
            if other in given:
                raise ConflictError(f"a channel of the kind {before['kind']} has no `{other}`", field=other)
            return stored.ChannelFacts(
                changes.name if "name" in given else before["name"],
                changes.enabled if "enabled" in given else before["enabled"],
                _url(call, changes.url) if "url" in given else before["url"],
                _recipients(call, changes.to) if "to" in given else before["recipients"],
                tuple(dict.fromkeys(changes.events)) if "events" in given else before["event_kinds"],
                _unique(call, changes.severities, "severities")
                if "severities" in given
                else before["severities"],
                _unique(call, changes.rules, "rules") if "rules" in given else before["rule_ids"],
                sites if "sites" in given else before["site_ids"],
                changes.muted if "muted" in given else before["muted"],
                _quiet(changes.quiet) if "quiet" in given else stored.quiet_from(before["quiet"]),
                told,
            )

        changed = _public(await stored.change(transaction, channel_id, version, decide, _now(call)))
    call.engine.outside.wake()
    return changed


async def rotate(call: Call, channel_id: UUID) -> Row:
    """The channel with its new secret. Raises NotFoundError, ConflictError when it has none."""
    secret = new_secret()
    sealed = call.engine.outside.sealer.seal(secret, call.actor.tenant_id, channel_id)
    former_until = _now(call) + timedelta(hours=call.engine.settings.secret_overlap_hours)
    async with call.transaction() as transaction:
        row = await stored.rotate(transaction, channel_id, sealed, former_until)
    return _public(row) | {"secret": secret}


async def delete(call: Call, channel_id: UUID) -> None:
    """Delete the channel. Raises NotFoundError, ForbiddenError (alerts about refusals)."""
    async with call.transaction() as transaction:
        told = (await stored.get(transaction, channel_id))["security_alerts"]
        _require_may_tell(call, security_alerts=told)
        await stored.delete(transaction, channel_id, _now(call))


async def test(call: Call, channel_id: UUID) -> Row:
    """The delivery of a message that tries the channel. Raises NotFoundError, ConflictError."""
    delivery_id = uuid4()
    async with call.transaction() as transaction:
        most = call.engine.settings.channel_pending_max
        await stored.queue_test(transaction, channel_id, delivery_id, _now(call), most)
        row = await stored_deliveries.get(transaction, delivery_id)
    call.engine.outside.wake()
    return public_delivery(row)


async def replay(call: Call, channel_id: UUID, asked: schemas.ReplayAsked) -> Row:
    """How many deliveries were queued again. Raises NotFoundError, InvalidRequestError (empty span)."""
    if asked.starts >= asked.ends:
        raise InvalidRequestError("`from` is not before `to`", field="to")
    most = call.engine.settings.replay_deliveries_max
    states = [DeliveryState(state) for state in asked.state]
    async with call.transaction() as transaction:
        count = await stored_deliveries.replay_many(
            transaction, channel_id, states, asked.starts, asked.ends, _now(call), most
        )
    call.engine.outside.wake()
    return {"queued": count, "more": count == most}


def _public(row: Row) -> Row:
    shown = (
        "id", "name", "kind", "enabled", "disabled_reason", "url", "severities", "muted", "security_alerts", "quiet",
        "failures", "failing_since", "former_secret_until", "created_by", "created_at", "version",
    )  # fmt: skip
    names = {"to": row["recipients"], "events": row["event_kinds"], "rules": row["rule_ids"]}
    # Sites that a channel chose are there for good, so that names are missing only where none was chosen.
    return {name: row[name] for name in shown} | names | {"sites": row["sites"]}
