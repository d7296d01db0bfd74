"""Who is who: tokens, sessions, users, passwords, signing in, and other issuers."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings

DEVELOPMENT_ISSUER = "bpm-development"


class Identity(BaseSettings):
    """Issuers, tokens, users and passwords."""

    token_issuer: str | None = Field(None, description="accepted `iss` of access tokens")
    token_audience: str = Field("bpm", description="accepted `aud` of access tokens")
    token_jwks_file: Path | None = Field(
        None, description="JSON Web Key Set with the Ed25519 keys that sign access tokens"
    )
    own_issuer: str = Field(
        "bpm",
        min_length=1,
        max_length=200,
        description="`iss` of the access tokens that this installation signs",
    )
    signing_keys_dir: Path | None = Field(
        None,
        description="folder of the keys that sign them, which processes of one installation share; `signing-keys` in"
        " the data folder when not set",
    )
    access_token_life_s: int = Field(
        600, ge=60, le=900, description="life of access tokens that this installation signs"
    )
    refresh_token_hours: float = Field(
        72.0, gt=0, description="a refresh token that isn't used within is worth nothing"
    )
    session_days_max: float = Field(
        30.0, gt=0, description="so long after signing in with a password it is asked for again"
    )
    sessions_max: int = Field(20, gt=0, description="sessions of a user; beyond, the oldest ends")
    revocation_poll_s: float = Field(
        5.0,
        gt=0,
        le=30,
        description="time between looks for credentials that have ended, and for signing keys, when no notification"
        " comes",
    )
    revocation_s_max: float = Field(
        45.0,
        gt=0,
        le=60,
        description="what ended is known to be so old at most: when it can't be looked up for longer, no credential is"
        " accepted; 503",
    )
    users_max: int = Field(
        10_000, gt=0, description="users of a tenant, deleted ones too until they are purged; then 409"
    )
    invitation_hours: float = Field(
        72.0, gt=0, description="an invitation that isn't used within is worth nothing"
    )
    user_purge_days: float = Field(
        30.0, ge=0, description="a deleted user can be brought back for so long; then only its id is left"
    )
    user_sweep_s: float = Field(
        60.0, gt=0, description="time between looks for users, sessions and failed sign-ins to drop"
    )
    password_characters_min: int = Field(
        12, ge=8, le=128, description="length of a password; shorter ones: 422"
    )
    password_memory_kib: int = Field(
        47_104, ge=8_192, le=1 << 21, description="memory of argon2id for one password, in KiB"
    )
    password_passes: int = Field(1, ge=1, le=100, description="passes of argon2id over its memory")
    password_lanes: int = Field(1, ge=1, le=16, description="lanes of argon2id, each a thread")
    passwords_at_once_max: int = Field(
        2, gt=0, le=64, description="passwords that are hashed at the same time; others wait"
    )
    passwords_waiting_max: int = Field(100, gt=0, description="passwords that wait to be hashed; then 429")
    sign_in_failures_free: int = Field(
        5, ge=2, description="failed sign-ins for a login from which it is blocked for a while; then 429"
    )
    sign_in_wait_s: float = Field(
        2.0, gt=0, description="first block of a login; each further failure doubles it"
    )
    sign_in_wait_s_max: float = Field(900.0, gt=0, description="longest block of a login")
    sign_in_memory_hours: float = Field(
        24.0, gt=0, description="failures are forgotten when none came for so long"
    )
    sign_in_logins_max: int = Field(
        100_000, gt=0, description="logins of which failures are remembered; beyond, the oldest are forgotten"
    )
    oidc_issuers_file: Path | None = Field(
        None,
        description="other issuers (OpenID Connect) whose tokens are exchanged for ours, as TOML: issuer, audience,"
        " algorithms, keys, and what their claims mean here",
    )
    oidc_token_age_s_max: float = Field(
        3600.0, gt=0, description="their tokens are exchanged so long after they were issued; then 401"
    )
    oidc_keys_s: float = Field(300.0, gt=0, description="their keys are read again after so long")
    oidc_keys_s_min: float = Field(
        30.0, gt=0, description="and for a key that isn't known, at most once in so long"
    )
    oidc_keys_kept_s_max: float = Field(
        3600.0, gt=0, description="keys that can't be read again are used for so long; then 503"
    )
    token_leeway_s: int = Field(30, ge=0, le=60, description="tolerated difference of clocks")
    token_life_s_max: int = Field(900, gt=0, description="tokens of a longer life are refused")
    development_token_life_s: int = Field(43_200, gt=0, le=43_200, description="life of development tokens")
    development_tokens_per_minute_max: int = Field(
        60, gt=0, description="sign-ins on the page in development; then 429"
    )
    page_tenants_max: int = Field(
        1000, gt=0, description="tenants that the page lists in development; others are typed in"
    )
