"""Settings, each from the environment variable BPM_ and its name; every limit has its unit in its name."""

import re
from enum import StrEnum
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from streams.topics import PREFIX

DEVELOPMENT_ISSUER = "bpm-development"

_BROKER = r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}"
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?|https?://\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?")
_PORT_MAX = 65_535
_BROKERS = re.compile(rf"{_BROKER}(?:,{_BROKER})*")


class Environment(StrEnum):
    PRODUCTION = "production"
    DEVELOPMENT = "development"


class TlsMode(StrEnum):
    """How the way to the mail relay is encrypted: not, after STARTTLS, or from the first byte."""

    NONE = "none"
    STARTTLS = "starttls"
    TLS = "tls"


def _parts(text: object) -> object:
    return tuple(part.strip() for part in text.split(",") if part.strip()) if isinstance(text, str) else text


Listed = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_parts)]
"""Several values, separated by commas."""


class Settings(BaseSettings):
    """All settings; created once, in `api.bootstrap` or a command, never at import."""

    model_config = SettingsConfigDict(env_prefix="BPM_", extra="ignore", frozen=True)

    env: Environment = Field(
        Environment.PRODUCTION,
        description="production, or development: own signing key, no outside issuer needed",
    )
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=1, le=65535, description="port to listen on")
    data_dir: Path = Field(Path("var"), description="folder of everything that the engine keeps itself")

    tls_certificate_file: Path | None = Field(
        None, description="certificate with its chain, PEM: the API is served by TLS 1.2 or later alone"
    )
    tls_key_file: Path | None = Field(None, description="its private key, PEM")
    proxies_trusted: Listed = Field(
        (),
        description="addresses or networks of proxies whose X-Forwarded-For and X-Forwarded-Proto are believed; of"
        " others nothing is",
    )
    hosts_allowed: Listed = Field(
        (),
        description="names by which the API may be asked for, such as `api.example.org`; else 400; all if none",
    )
    cors_origins: Listed = Field(
        (),
        description="origins of pages elsewhere that may use the API, such as `https://fleet.example.org`; without"
        " cookies",
    )

    @field_validator("proxies_trusted")
    @classmethod
    def _networks(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in proxies:
            try:
                ip_network(proxy)
            except ValueError as error:
                raise ValueError(f"{proxy} is neither an address nor a network") from error
        return proxies

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if _ORIGIN.fullmatch(origin) is None:
                raise ValueError(f"{origin} is no origin, such as https://fleet.example.org; * is refused")
        return origins

    database_url: SecretStr | None = Field(
        None, description="PostgreSQL 15 or later to use instead of the embedded one"
    )

    database_url_file: Path | None = Field(
        None, description="file with that address, instead of BPM_DATABASE_URL"
    )

    @model_validator(mode="before")
    @classmethod
    def _from_files(cls, given: dict[str, object]) -> dict[str, object]:
        """Secrets that stand in files of their own, as orchestrators hand them over."""
        if path := given.get("database_url_file"):
            if given.get("database_url"):
                raise ValueError("set BPM_DATABASE_URL or BPM_DATABASE_URL_FILE, not both")
            try:
                return given | {"database_url": Path(str(path)).read_text(encoding="utf-8").strip()}
            except (OSError, UnicodeDecodeError) as error:
                raise ValueError(f"BPM_DATABASE_URL_FILE can't be read: {type(error).__name__}") from None
        return given

    @field_validator("database_url")
    @classmethod
    def _readable(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            from psycopg import ProgrammingError
            from psycopg.conninfo import conninfo_to_dict

            try:
                conninfo_to_dict(url.get_secret_value())
            except ProgrammingError:
                # Its message repeats a part of the address, which may be the password.
                raise ValueError(
                    "this is no address of a PostgreSQL, such as postgresql://user:password@host:5432/database; "
                    "special characters of a password are percent-encoded"
                ) from None
        return url

    postgres_run_as: str | None = Field(
        None, description="account of the embedded server when started as root"
    )
    postgres_shared_buffers_mb: int | None = Field(
        None, ge=16, description="shared buffers of the embedded server; fitted to the machine when not set"
    )
    kafka: str | None = Field(
        None, description="brokers of a Kafka cluster, `HOST:PORT`, several separated by commas"
    )
    kafka_partitions: int = Field(
        8,
        ge=1,
        le=10_000,
        description="partitions over which packs are spread, fixed when the topics are created; a topic of readings"
        " with another number is refused",
    )
    kafka_copies: int | None = Field(
        None,
        ge=1,
        le=10,
        description="copies of each message, on as many brokers; without, 3, or as many as there are brokers",
    )

    kafka_prefix: str = Field(
        PREFIX,
        pattern="^[A-Za-z0-9_-]{1,100}$",
        description="begin of the topics' names, without a dot: installations that share a cluster differ in it. It is"
        " fixed when the topics are created; another one is refused",
    )
    kafka_group: str | None = Field(
        None, description="consumer group of the workers; without, the prefix with `-workers`"
    )
    kafka_ack_s_max: float = Field(
        15.0, gt=0, description="wait for the brokers' acknowledgement of a message; then 503"
    )
    receipt_wait_s: float = Field(
        10.0,
        ge=0,
        description="wait of a request for the receipt from a worker; then 202 and a pending receipt",
    )
    message_readings_max: int = Field(5_000, gt=0, description="readings in one message of the topic")
    message_raw_bytes_max: int = Field(
        262_144, gt=0, description="bytes of readings that were set aside, as they came, in one message"
    )
    behind_messages_max: int = Field(
        2_000, gt=0, description="messages of a partition that its worker has not committed; then 429"
    )
    group_messages_max: int = Field(64, gt=0, description="messages that a worker commits in one transaction")
    singles_max: int = Field(
        1_000, gt=0, description="single readings of the topic that are sent on together"
    )
    singles_wait_s: float = Field(
        0.05, gt=0, le=10, description="wait of a single reading for others to be sent on with"
    )
    worker_session_s: float = Field(
        10.0, ge=0.5, description="silence of a worker after which others take its partitions over"
    )
    worker_stale_after_s: float = Field(
        10.0,
        gt=0,
        description="age of a partition's last report from which its live figures are called stale",
    )
    worker_metrics_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="port on which a worker shows its metrics, at the host's address; 0 for none",
    )

    @field_validator("kafka")
    @classmethod
    def _brokers(cls, brokers: str | None) -> str | None:
        if brokers is not None and _BROKERS.fullmatch(brokers) is None:
            raise ValueError("give HOST:PORT, several separated by commas without spaces")
        for address in brokers.split(",") if brokers else ():
            if not 1 <= int(address.rpartition(":")[2]) <= _PORT_MAX:
                raise ValueError(f"the port of {address} is not one of 1 to {_PORT_MAX}")
        return brokers

    database_connections_max: int = Field(
        10, ge=2, description="connections of the API; a request waits for one"
    )
    database_wait_s_max: float = Field(10.0, gt=0, description="wait for a connection; then 503")
    statement_s_max: float = Field(
        30.0, gt=0, description="a query of a request is ended after this; then 503"
    )

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
    tenant_grace_days: float = Field(
        30.0, ge=0, description="a deleted tenant can be taken back for so long; then it may be erased"
    )
    erase_rows_max: int = Field(
        10_000,
        gt=0,
        description="rows of a table that `bpm tenant erase` deletes in one transaction; few of them give way to others"
        " sooner, many are done earlier",
    )
    access_grant_hours_max: float = Field(
        72.0, gt=0, description="so long a tenant may let operators of the installation act in it at once"
    )
    access_grants_max: int = Field(100, gt=0, description="open access grants of a tenant; then 409")
    usage_flush_s: float = Field(
        5.0,
        gt=0,
        description="time between additions of counted requests to what tenants used; a process that is killed loses"
        " those of so long",
    )
    usage_known_s: float = Field(
        2.0,
        ge=0,
        description="what a tenant with quotas has used may be this old, and be passed by what comes within",
    )
    tenant_cache_s: float = Field(
        5.0,
        ge=0,
        le=30,
        description="a tenant's settings may be this old; live streams look so often whether their credential may do"
        " what it might",
    )

    roles_max: int = Field(100, ge=0, description="roles that a tenant may make; then 409")

    service_accounts_max: int = Field(1000, ge=0, description="service accounts of a tenant; then 409")
    devices_max: int = Field(100_000, ge=0, description="devices of a tenant; then 409")
    api_keys_max: int = Field(
        10, gt=0, description="keys in use of a service account or a device; then 409, until one is revoked"
    )
    account_grace_days: float = Field(
        30.0,
        ge=0,
        description="how long a deleted service account or device can be restored; then it is gone",
    )
    api_key_cache_s: float = Field(
        20.0,
        ge=0,
        le=30,
        description="what is known of an API key may be this old; a live stream is ended within twice that",
    )
    api_key_used_s: float = Field(300.0, gt=0, description="how often the use of an API key is noted")

    disk_low_bytes: int = Field(
        1 << 30,
        ge=0,
        description="with less free on the data directory's disk no readings are taken in: 507; 0 switches it off."
        " An outside database's disk is watched by its own tools",
    )

    json_body_bytes_max: int = Field(
        4 << 20, gt=0, description="JSON, NDJSON, CSV and ThingsBoard telemetry; then 413"
    )
    arrow_body_bytes_max: int = Field(16 << 20, gt=0, description="Arrow telemetry; then 413")
    record_body_bytes_max: int = Field(1 << 20, gt=0, description="bodies of all other routes; then 413")
    json_readings_max: int = Field(
        10_000, gt=0, description="readings in a JSON, NDJSON, CSV or ThingsBoard body; then 413"
    )
    arrow_readings_max: int = Field(200_000, gt=0, description="readings in an Arrow body; then 413")
    decompressed_ratio_max: int = Field(
        100, gt=0, description="how much larger a compressed body may be once unfolded; then 413"
    )
    ignored_keys_max: int = Field(20, ge=0, description="unknown keys named in a receipt")
    pack_name_characters_max: int = Field(200, gt=0, description="length of a pack's external id")
    receipt_items_max: int = Field(10_000, ge=0, description="readings that a receipt lists one by one")
    key_aliases_max: int = Field(
        200, gt=0, description="other names of keys that a tenant may have; then 422"
    )
    packs_scanned_max: int = Field(
        20_000,
        gt=0,
        description="packs looked at for one page of a search; a page may be short then, and go on",
    )
    csv_rows_max: int = Field(100_000, gt=0, description="rows of a CSV registration; then 413")

    future_s_max: int = Field(
        300, ge=0, description="how far in the future a reading may lie; else quarantined"
    )
    late_s_max: int = Field(
        30 * 86_400, gt=0, description="how late a live reading may arrive; else quarantined"
    )
    late_after_s: int = Field(
        900, ge=0, description="a live reading that arrives later than this counts as late"
    )
    import_from_year: int = Field(1990, ge=1970, description="imports may begin here; else quarantined")
    clock_jump_s_max: int = Field(60, gt=0, description="a larger jump of the clock stops live ingest; 503")

    connections_max: int = Field(
        8000, gt=0, description="connections of a process, idle ones too; then 503 at once"
    )
    head_bytes_max: int = Field(
        32_768, ge=4096, description="the line and the headers of a request; then 431"
    )
    head_s_max: float = Field(
        10.0, gt=0, description="a request's line and headers come within; else 408, and the connection ends"
    )
    body_s_max: float = Field(
        60.0, gt=0, description="a request's body comes within; else 408, and the connection ends"
    )
    request_s_max: float = Field(120.0, gt=0, description="an answer begins within; else 503")
    answer_s_max: float = Field(
        60.0, gt=0, description="a client that takes nothing of its answer for so long is cut off"
    )

    subject_requests_per_s_max: float = Field(
        1000.0, gt=0, description="requests of one credential, by all processes together; then 429"
    )
    tenant_requests_per_s_max: float = Field(5000.0, gt=0, description="requests of a tenant; then 429")
    subject_readings_per_s_max: float = Field(
        1_000_000.0, gt=0, description="readings that one credential sends; then 429"
    )
    tenant_readings_per_s_max: float = Field(
        2_000_000.0, gt=0, description="readings that a tenant sends; then 429"
    )
    stranger_requests_per_s_max: float = Field(
        20.0,
        gt=0,
        description="requests and sockets without a valid credential from one address, of each process; then 429 for"
        " those whose credential doesn't look good, and on `/v1/auth/…` for all",
    )
    rate_burst_s: float = Field(
        10.0, gt=0, description="for so long a rate may be saved up, to be spent at once"
    )
    rate_lease_s: float = Field(
        0.25,
        ge=0.01,
        le=10,
        description="a process takes so much of a rate at once, and asks again when it is spent; what it has not spent"
        " others lack",
    )
    security_keys_max: int = Field(
        500,
        gt=0,
        description="refusals told apart within a second; beyond, they are counted by tenant and kind",
    )
    security_days_max: int = Field(90, gt=0, description="security events are kept for so long")
    security_denied_per_minute_max: int = Field(
        60,
        gt=0,
        le=1_000_000,
        description="accesses denied to a tenant's credentials within a minute, from which on an alert is raised,"
        " unless the tenant chose otherwise",
    )
    security_not_found_per_minute_max: int = Field(
        300,
        gt=0,
        le=1_000_000,
        description="the same of ids that a tenant's credentials did not find",
    )
    security_rate_limited_per_minute_max: int = Field(
        600,
        gt=0,
        le=1_000_000,
        description="the same of requests of a tenant that were refused by rate",
    )
    security_quiet_s: int = Field(
        600,
        ge=60,
        le=86_400,
        description="such an alert clears when no minute has had so many for so long, unless the tenant chose"
        " otherwise",
    )

    lock_s_max: float = Field(5.0, gt=0, description="a statement waits so long for a lock; then 503")
    stop_s_max: float = Field(
        30.0,
        gt=0,
        description="wait for the last group when stopping; a worker that takes longer for all of its stop ends with 1",
    )
    queue_bytes_max: int = Field(256 << 20, gt=0, description="bodies waiting, live and bulk each; then 429")
    queue_readings_max: int = Field(
        1_000_000, gt=0, description="readings waiting, live and bulk each; then 429"
    )
    bulk_readings_min: int = Field(2_000, gt=0, description="late batches of this size queue with imports")
    bulk_slice_readings: int = Field(
        10_000, gt=0, description="readings of imports committed in one transaction, between live ones"
    )
    group_readings_max: int = Field(250_000, gt=0, description="readings committed in one transaction")
    recover_s_max: float = Field(30.0, gt=0, description="wait for the store after an error; then 503")
    close_after_s: int = Field(
        300,
        ge=0,
        description="a quarter-hour is counted this long after its end, and again when late readings come",
    )
    correction_slice_readings: int = Field(
        10_000, gt=0, description="readings that a correction changes in one transaction, between live ones"
    )
    correction_wait_s: float = Field(
        10.0, ge=0, description="a request waits so long for its correction; then 202, and it goes on"
    )
    save_state_s: float = Field(5.0, gt=0, description="time between savings of the writer's state")
    retry_after_s: int = Field(1, gt=0, description="Retry-After of 429 and 503")

    quarantine_raw_bytes_max: int = Field(
        16_384,
        ge=256,
        description="raw text kept of a reading that is set aside; the rest is cut, with a mark",
    )
    quarantine_days_max: int = Field(
        90, gt=0, description="an item of quarantine that didn't come again for so long is dropped"
    )
    quarantine_items_max: int = Field(
        100_000, gt=0, description="items of quarantine of one tenant; beyond, the oldest are dropped"
    )
    quarantine_sweep_s: float = Field(60.0, gt=0, description="time between looks for items to drop")
    quarantine_sweep_items_max: int = Field(10_000, gt=0, description="items dropped at one look")
    quarantine_export_items_max: int = Field(100_000, gt=0, description="items in one export; then 422")
    columns_after_days: float = Field(
        1.0, ge=0, description="with TimescaleDB, a day's readings are put in columns so long after its end"
    )
    columns_look_s: float = Field(
        60.0, gt=0, description="with TimescaleDB, time between looks for days to put in columns"
    )

    readings_keep_days: int | None = Field(
        None,
        ge=7,
        description="raw readings are kept for so long at least, and no less than `BPM_LATE_S_MAX`; then their days are"
        " archived, and dropped; without, for good. Windows are kept for good",
    )
    readings_drop_after_s: float = Field(
        3600.0,
        ge=60,
        description="time between archiving days and dropping them, in which requests that began before end",
    )
    readings_look_s: float = Field(
        60.0, gt=0, description="time between looks for days of readings to archive or drop"
    )

    receipts_keep_days: int | None = Field(
        None,
        ge=7,
        description="receipts are kept for so long at least, and until all readings of their body were dropped;"
        " without, for good. Those of imports are kept for good",
    )
    submissions_keep_days: int = Field(
        30,
        ge=8,
        description="what is noted of a body on its way through the topic is kept for so long: longer than messages",
    )
    bookkeeping_rows_max: int = Field(
        10_000,
        gt=0,
        description="receipts, superseded readings or notes of bodies that are dropped in one transaction",
    )

    @model_validator(mode="after")
    def _keeps_late_readings(self) -> Self:
        days = self.readings_keep_days
        if days is not None and days * 86_400 < self.late_s_max:
            raise ValueError(
                f"BPM_READINGS_KEEP_DAYS is {days}, less than the {self.late_s_max} s of BPM_LATE_S_MAX, by which"
                " readings may be late"
            )
        return self

    audit_days_min: int | None = Field(
        None,
        ge=90,
        description="entries of the audit log are kept for so long at least, then dropped; without, for good. The"
        " database itself refuses to drop any of the last 90 days",
    )
    audit_look_s: float = Field(3600.0, gt=0, description="time between looks for audit entries to drop")
    audit_look_entries_max: int = Field(10_000, gt=0, description="audit entries dropped at one look")

    redrive_items_max: int = Field(10_000, gt=0, description="items judged again in one request")

    silent_after_s: int = Field(
        900,
        ge=60,
        le=7 * 86_400,
        description="a pack whose last live reading arrived longer ago counts as silent",
    )
    live_skew_s_max: int = Field(
        60,
        ge=0,
        description="a pack whose clock differs by more from the arrival of its newest reading is skewed",
    )
    live_groups_max: int = Field(1000, gt=0, description="groups in one answer of live aggregates; then 422")

    trend_points_max: int = Field(
        5_000_000, ge=4, description="readings in one answer of trends, of all packs together; then 422"
    )
    trend_raw_readings_max: int = Field(
        100_000,
        gt=0,
        description="readings, of all packs together, from which the points of a trend are chosen; beyond, they are"
        " chosen from stored windows",
    )
    trend_analysis_points_max: int = Field(
        1_000, ge=10, le=5_000, description="points of which slopes are made; of more, so many are taken"
    )
    trend_horizon_days_max: int = Field(
        3_650, gt=0, description="how far behind the data a crossing is projected; beyond, there is no trend"
    )

    aggregate_readings_max: int = Field(
        1_000_000,
        gt=0,
        description="readings, and for groups also stored quarter-hours and days of packs, that one answer is"
        " computed from; then 422",
    )
    aggregate_windows_max: int = Field(
        100_000, gt=0, description="windows in one answer, of all packs together; then 422"
    )
    aggregate_packs_max: int = Field(
        100, gt=0, description="packs in one answer of aggregates or trends; then 422"
    )
    answers_kept_bytes_max: int = Field(
        64 << 20,
        ge=0,
        description="answers about closed days that are kept; the one asked longest ago goes; 0 keeps none",
    )
    groups_max: int = Field(1000, gt=0, description="saved groups of packs of a tenant; then 409")
    group_packs_max: int = Field(10_000, gt=0, description="packs in a saved group; then 422")
    latest_packs_max: int = Field(
        10_000, gt=0, description="packs whose latest values are looked up in one request; then 422"
    )
    count_notes_max: int = Field(5_000, gt=0, description="quarter-hours counted again in one transaction")
    count_packs_max: int = Field(
        200_000, gt=0, description="packs whose readings are read at once when a quarter-hour is counted"
    )
    count_wait_s: float = Field(1.0, gt=0, description="time between looks for quarter-hours to count")
    rules_max: int = Field(1000, gt=0, description="alert rules of a tenant; then 409")
    silences_max: int = Field(10_000, gt=0, description="silences of a tenant that haven't ended; then 409")
    preview_readings_max: int = Field(
        1_000_000, gt=0, description="stored readings over which a rule is previewed, the newest of them"
    )

    ticket_life_s: float = Field(30.0, gt=0, description="a ticket that isn't used within is worth nothing")
    live_first_frame_s_max: float = Field(
        10.0, gt=0, description="wait for a socket's first frame; then 4400"
    )
    live_send_s_max: float = Field(10.0, gt=0, description="a client takes a frame within, else 4408")
    live_heartbeat_s: float = Field(
        15.0, gt=0, description="time without a frame, after which a heartbeat comes"
    )
    live_poll_s: float = Field(
        1.0, gt=0, description="time between looks for alerts when no notification comes"
    )
    live_feed_events_max: int = Field(
        2000, gt=0, description="newest events of a tenant's alerts that are kept for sockets; then `lagged`"
    )
    live_snapshot_alerts: int = Field(
        500, gt=0, le=1000, description="open alerts in one frame of a snapshot"
    )
    live_rate_hz_max: float = Field(
        10.0, gt=0, description="frames a second of latest values; faster is refused by 4400"
    )
    live_members_s: float = Field(
        5.0, gt=0, description="who is in a group may be this old in a stream of latest values"
    )
    live_connections_max: int = Field(
        5000, gt=0, description="live connections of a process; then 4429 or 429"
    )
    live_waiting_connections_max: int = Field(
        1000, gt=0, description="sockets that wait for their first frame; the handshake is answered by 429"
    )
    live_network_waiting_connections_max: int = Field(
        200, gt=0, description="the same of those from one network, a /24 of IPv4 or a /48 of IPv6"
    )
    live_frame_bytes_max: int = Field(
        65_536, gt=0, description="a message of a client; the socket is closed with 1009"
    )
    live_store_reads_max: int = Field(
        4, gt=0, description="live clients that read from the database at once; more wait"
    )
    live_origins: frozenset[str] = Field(
        frozenset(),
        description="origins of pages that may open sockets, besides the engine's own, as a JSON list; else 403",
    )
    live_tenant_connections_max: int = Field(
        2500, gt=0, description="live connections of a tenant in a process; then 4429 or 429"
    )

    cells_file: Path | None = Field(
        None,
        description="other cells, to which `bpm tenant move` can move tenants, as TOML: url and database_url of each",
    )
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

    alerts_scanned_max: int = Field(
        20_000,
        gt=0,
        description="alerts, or events of alerts, looked at for one page; a page may be short then, and go on",
    )
    statistics_days_max: int = Field(366, gt=0, description="longest range of alert statistics; then 422")
    statistics_alerts_max: int = Field(
        1_000_000, gt=0, description="alerts that statistics are computed from; then 422"
    )

    failpoint: str | None = Field(
        None, description="development only: STAGE:N ends the process when it reaches STAGE the Nth time"
    )
