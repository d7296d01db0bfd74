"""Use cases of live streams: tickets and subscriptions."""

import secrets
import time
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from api.auth import Claims
from api.call import Call
from api.engine import Engine
from api.live.audience import Audience, Filter
from api.live.latest import LatestPace, LatestStream, LatestWanted
from api.live.schemas import AlertFilter, Watch
from api.live.subscription import Pace, Sink, Subscription
from api.live.watch import Standing
from domain.clock import MILLISECONDS_PER_SECOND, from_ms
from domain.errors import InvalidRequestError, UnauthenticatedError
from domain.measures import MEASURE_NAMES
from storage import tickets as stored

Row = dict[str, Any]

_TICKET_BYTES = 32


async def make_ticket(call: Call, claims: Claims) -> Row:
    """A ticket for one socket; the socket ends with the credential that it was asked with."""
    engine = call.engine
    now = from_ms(engine.clock.now_ms())
    expires_at = from_ms(engine.clock.now_ms() + int(engine.settings.ticket_life_s * MILLISECONDS_PER_SECOND))
    ticket = secrets.token_urlsafe(_TICKET_BYTES)
    async with call.transaction() as transaction:
        await stored.keep(transaction, ticket, claims.as_json(), now, expires_at)
    return {"ticket": ticket, "expires_at": expires_at}


async def claims_of_ticket(engine: Engine, ticket: str) -> Claims:
    """What the credential says now with which a ticket was asked. Raises UnauthenticatedError."""
    said = await stored.use(engine.directory, ticket, from_ms(engine.clock.now_ms()))
    if said is None:
        raise UnauthenticatedError("the ticket is unknown, was used, or has expired")
    return await engine.claims_now(Claims.from_json(said))


def is_welcome(engine: Engine, headers: Headers) -> bool:
    """Whether a socket may be opened from where the browser says that the page comes from.

    A page of another site could open sockets too, with nothing but a ticket between it and the alerts; programs that
    are no browsers name no origin.
    """
    origin = headers.get("origin")
    if origin is None or origin in engine.settings.live_origins:
        return True
    try:
        return urlsplit(origin).netloc == headers.get("host")
    except ValueError:
        return False


def watch(engine: Engine, standing: Standing, asked: Watch, request_id: str) -> LatestStream:
    """A client's stream of latest values. Raises InvalidRequestError when it is too fast."""
    settings = engine.settings
    if asked.rate_hz > settings.live_rate_hz_max:
        raise InvalidRequestError(
            f"at most {settings.live_rate_hz_max} a second", field="rate_hz", limit=settings.live_rate_hz_max
        )
    measures = tuple(dict.fromkeys(asked.measures or MEASURE_NAMES))
    if not set(measures) <= set(MEASURE_NAMES):
        raise InvalidRequestError(f"measures are {', '.join(MEASURE_NAMES)}", field="measures")
    return LatestStream(
        call=Call(engine, standing.actor, request_id),
        wanted=LatestWanted(
            packs=None if asked.packs is None else tuple(asked.packs),
            group=asked.group,
            measures=measures,
            period_s=1 / asked.rate_hz,
        ),
        pace=LatestPace(settings.live_heartbeat_s, settings.live_members_s),
        ends_at_s=time.monotonic() + standing.claims.expires_at_s - time.time(),
        standing=standing,
        monotonic_s=time.monotonic,
    )


def subscription(
    engine: Engine,
    standing: Standing,
    wanted: AlertFilter,
    request_id: str,
    sink: Sink | None = None,
) -> Subscription:
    """A client's subscription to alerts."""
    settings = engine.settings
    chosen = Filter(
        frozenset(wanted.sites),
        frozenset(wanted.severities),
        frozenset(wanted.rules),
        frozenset(wanted.packs),
    )
    return Subscription(
        audience=Audience(standing.actor, chosen),
        ends_at_s=standing.claims.expires_at_s,
        check_credential=standing.check,
        hub=engine.hub,
        transactions=engine.transactions,
        pace=Pace(settings.live_heartbeat_s, settings.live_snapshot_alerts),
        request_id=request_id,
        sink=sink,
    )
