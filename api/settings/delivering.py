"""Channels and their deliveries: webhooks and e-mails."""

from enum import StrEnum
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings

from api.settings.listed import Listed


class TlsMode(StrEnum):
    """How the way to the mail relay is encrypted: not, after STARTTLS, or from the first byte."""

    NONE = "none"
    STARTTLS = "starttls"
    TLS = "tls"


class Channels(BaseSettings):
    """Channels, attempts and webhooks."""

    secrets_key_file: Path | None = Field(
        None,
        description="keys that seal the secrets of webhooks, base64 of 32 bytes, a line each: the first seals, all"
        " open; without it production makes no webhook channels",
    )
    channels_max: int = Field(100, gt=0, description="channels of a tenant; then 409")
    channel_recipients_max: int = Field(20, gt=0, description="addresses of an e-mail channel; then 422")
    channel_choices_max: int = Field(
        1000, gt=0, description="rules, or sites, that a channel names; then 422"
    )
    channel_pending_max: int = Field(
        10_000,
        gt=0,
        description="deliveries that wait in a channel; what comes beyond is dead, to be replayed",
    )
    channel_failing_hours_max: float = Field(
        120.0, gt=0, description="a channel whose attempts all fail for so long is switched off"
    )
    secret_overlap_hours: float = Field(
        24.0, ge=0, description="a secret that was rotated signs too for so long"
    )
    digest_events_max: int = Field(
        200, gt=0, description="events told in the digest of quiet hours; more are only counted"
    )
    dispatch_events_max: int = Field(
        500, gt=0, description="alert events made into deliveries in one transaction"
    )
    dispatch_poll_s: float = Field(
        1.0, gt=0, description="time between looks for alert events, and for deliveries that are due"
    )
    delivery_first_wait_s: float = Field(
        5.0,
        gt=0,
        description="wait after a first attempt that failed; up to half of each wait is left off by chance",
    )
    delivery_wait_factor: float = Field(
        3.0, ge=1, le=100, description="each wait is so many times the one before"
    )
    delivery_wait_s_max: float = Field(3600.0, gt=0, description="longest wait between two attempts")
    delivery_attempts_max: int = Field(50, gt=0, description="attempts of a delivery; then it is dead")
    delivery_hours_max: float = Field(
        48.0, gt=0, description="a delivery is tried for so long; then it is dead"
    )
    delivery_days_max: float = Field(
        30.0, gt=0, description="deliveries that ended longer ago are dropped, dead ones too"
    )
    deliveries_at_once_max: int = Field(
        16, gt=0, description="channels that are sent through at the same time; the others wait their turn"
    )
    deliveries_a_turn_max: int = Field(
        50, gt=0, description="deliveries of one channel before another gets its turn"
    )
    delivery_excerpt_characters_max: int = Field(
        1000, ge=0, description="what is kept of a receiver's answer"
    )
    replay_deliveries_max: int = Field(
        10_000,
        gt=0,
        description="deliveries queued again by one request; the answer says whether there are more",
    )
    webhook_s_max: float = Field(15.0, gt=0, description="a receiver answers within; else the attempt failed")
    webhook_answer_bytes_max: int = Field(
        65_536, gt=0, description="bytes read of a receiver's answer; the rest is let go"
    )
    webhook_http_allowed: bool = Field(
        False, description="development only: webhooks may go to http:// besides https://"
    )
    webhook_networks_allowed: Listed = Field(
        (),
        description="networks that webhooks may reach although they aren't of the internet, such as"
        " `10.1.2.0/24,fd00:1::/64`",
    )
    webhook_ports_allowed: Listed = Field(
        (), description="ports that webhooks may use, such as `443,8443`; all if none"
    )
    outside_ca_file: Path | None = Field(
        None, description="certificates trusted for webhooks and the mail relay besides the system's"
    )


class Mail(BaseSettings):
    """The mail relay."""

    smtp_host: str | None = Field(None, description="mail relay; without it there are no e-mail channels")
    smtp_port: int = Field(587, ge=1, le=65535, description="port of the relay")
    smtp_tls: TlsMode = Field(
        TlsMode.STARTTLS,
        description="`starttls`, `tls` from the first byte, or `none`: then without a password",
    )
    smtp_user: str | None = Field(None, description="user at the relay")
    smtp_password_file: Path | None = Field(None, description="file with the user's password")
    smtp_from: str | None = Field(None, description="address that e-mails come from")
    smtp_s_max: float = Field(30.0, gt=0, description="the relay answers each command within; else it failed")
    emails_per_hour_max: int = Field(
        200, gt=0, description="attempts to send e-mails of a tenant in an hour; more wait"
    )
