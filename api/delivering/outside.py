"""The parts that take alerts out of the building, made from the settings and joined."""

import asyncio
import random
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from api.delivering.dispatcher import Dispatcher
from api.delivering.emails import EmailSender, Relay, checked_address
from api.delivering.sealing import Sealer, make_sealer
from api.delivering.sender import Outlets, Sender, SenderLimits
from api.delivering.webhooks import WebhookLimits, WebhookSender, make_resolve
from api.metrics import Metrics
from api.settings import Environment, Settings, TlsMode
from domain.channels import Patience
from domain.clock import AnchoredClock
from domain.errors import InvalidRequestError, SettingsRefusedError
from domain.outside_addresses import networks
from storage.dispatching import DispatchLimits
from storage.transactions import Pool, open_pool
from streams.ports import Stage

_AGENT = "bpm-os-engine"
_CONNECTIONS_MAX = 4
_JITTER_SHARE = 0.5
_JITTER = random.SystemRandom()
"""Of its own: what others draw from the shared one stays the same."""

_PORT_MAX = 65_535


@dataclass(slots=True, eq=False)
class Outside:
    """What runs beside requests, and what requests need of it."""

    sealer: Sealer
    webhook_limits: WebhookLimits
    has_relay: bool
    dispatcher: Dispatcher
    sender: Sender
    pool: Pool
    _made: asyncio.Event
    _tasks: tuple["asyncio.Task[None]", ...] = ()

    def start(self) -> None:
        """Begin to read the alert log and to send. The pool is open by then."""
        self._tasks = (
            asyncio.create_task(self.dispatcher.run()),
            asyncio.create_task(self.sender.run()),
        )

    def wake(self) -> None:
        """Let the sender look at once, since a request has queued something."""
        self._made.set()

    async def stop(self) -> None:
        """End both; an attempt that is under way is made again by whoever runs next."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def make_outside(
    settings: Settings,
    conninfo: str,
    clock: AnchoredClock,
    metrics: Metrics,
    reached: Callable[[Stage], None],
) -> Outside:
    """The parts; they don't run yet. conninfo: of the ingest role. Raises SettingsRefusedError."""
    pool = open_pool(conninfo, connections_max=_CONNECTIONS_MAX, wait_s_max=settings.database_wait_s_max)
    trusted = _trusted(settings)
    limits = webhook_limits(settings)
    relay = _relay(settings)
    outlets = Outlets(
        make_sealer(settings),
        WebhookSender(limits, trusted, make_resolve(settings.deliveries_at_once_max), _AGENT),
        None if relay is None else EmailSender(relay, trusted),
    )
    made = asyncio.Event()
    dispatch_limits = DispatchLimits(
        settings.dispatch_events_max, settings.channel_pending_max, settings.digest_events_max
    )
    return Outside(
        outlets.sealer,
        limits,
        relay is not None,
        Dispatcher(conninfo, pool, clock, dispatch_limits, settings.dispatch_poll_s, made),
        Sender(pool, clock, outlets, _sender_limits(settings), metrics, made, _JITTER.random, reached),
        pool,
        made,
    )


def _sender_limits(settings: Settings) -> SenderLimits:
    return SenderLimits(
        Patience(
            settings.delivery_first_wait_s,
            settings.delivery_wait_factor,
            settings.delivery_wait_s_max,
            _JITTER_SHARE,
            settings.delivery_attempts_max,
            settings.delivery_hours_max,
        ),
        channels_max=settings.deliveries_at_once_max,
        turn_max=settings.deliveries_a_turn_max,
        # An SMTP conversation has several commands, each with its own limit.
        claim_s=2 * settings.webhook_s_max + 10 * settings.smtp_s_max,
        failing_hours_max=settings.channel_failing_hours_max,
        emails_per_hour_max=settings.emails_per_hour_max,
        days_max=settings.delivery_days_max,
        poll_s=settings.dispatch_poll_s,
    )


def webhook_limits(settings: Settings) -> WebhookLimits:
    """Where webhooks may go. Raises SettingsRefusedError."""
    if settings.webhook_http_allowed and settings.env is Environment.PRODUCTION:
        raise SettingsRefusedError(
            "webhooks without encryption are refused in production", field="BPM_WEBHOOK_HTTP_ALLOWED"
        )
    try:
        allowed = networks(settings.webhook_networks_allowed)
    except ValueError as error:
        raise SettingsRefusedError(str(error), field="BPM_WEBHOOK_NETWORKS_ALLOWED") from error
    ports = [int(port) if port.isascii() and port.isdigit() else 0 for port in settings.webhook_ports_allowed]
    if any(not 0 < port <= _PORT_MAX for port in ports):
        raise SettingsRefusedError("expected port numbers", field="BPM_WEBHOOK_PORTS_ALLOWED")
    return WebhookLimits(
        networks=allowed,
        ports=frozenset(ports),
        http_allowed=settings.webhook_http_allowed,
        s_max=settings.webhook_s_max,
        answer_bytes_max=settings.webhook_answer_bytes_max,
        excerpt_characters_max=settings.delivery_excerpt_characters_max,
    )


def _trusted(settings: Settings) -> ssl.SSLContext:
    trusted = ssl.create_default_context()
    if settings.outside_ca_file is not None:
        try:
            trusted.load_verify_locations(settings.outside_ca_file)
        except (OSError, ssl.SSLError) as error:
            raise SettingsRefusedError(
                f"{settings.outside_ca_file} can't be read as certificates", field="BPM_OUTSIDE_CA_FILE"
            ) from error
    return trusted


def _relay(settings: Settings) -> Relay | None:
    if settings.smtp_host is None:
        return None
    try:
        sender = checked_address(settings.smtp_from or "")
    except InvalidRequestError as error:
        raise SettingsRefusedError(
            "a mail relay needs an address to send from", field="BPM_SMTP_FROM"
        ) from error
    if (settings.smtp_user is None) != (settings.smtp_password_file is None):
        raise SettingsRefusedError("user and password go together", field="BPM_SMTP_USER")
    if settings.smtp_user is not None and settings.smtp_tls is TlsMode.NONE:
        raise SettingsRefusedError("a password is not sent without encryption", field="BPM_SMTP_TLS")
    return Relay(
        settings.smtp_host,
        settings.smtp_port,
        settings.smtp_tls,
        settings.smtp_user,
        _password(settings),
        sender,
        settings.smtp_s_max,
        settings.delivery_excerpt_characters_max,
    )


def _password(settings: Settings) -> str | None:
    path = settings.smtp_password_file
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeError) as error:
        raise SettingsRefusedError(f"{path} can't be read", field="BPM_SMTP_PASSWORD_FILE") from error
