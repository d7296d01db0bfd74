"""Settings, each from the environment variable BPM_ and its name; every limit has its unit in its name."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

DEVELOPMENT_ISSUER = "bpm-development"


class Environment(StrEnum):
    PRODUCTION = "production"
    DEVELOPMENT = "development"


class Settings(BaseSettings):
    """All settings; created once, in `api.bootstrap` or a command, never at import."""

    model_config = SettingsConfigDict(env_prefix="BPM_", extra="ignore", frozen=True)

    env: Annotated[
        Environment,
        Field(description="production, or development: own signing key, no outside issuer needed"),
    ] = Environment.PRODUCTION
    host: Annotated[str, Field(description="address to listen on")] = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535, description="port to listen on")] = 8000
    data_dir: Annotated[Path, Field(description="folder of everything that the engine keeps itself")] = Path(
        "var"
    )

    database_url: Annotated[
        SecretStr | None,
        Field(description="PostgreSQL 15 or later to use instead of the embedded one"),
    ] = None
    postgres_run_as: Annotated[
        str | None,
        Field(description="account of the embedded server when started as root"),
    ] = None
    postgres_shared_buffers_mb: Annotated[
        int | None,
        Field(ge=16, description="shared buffers of the embedded server; fitted to the machine when not set"),
    ] = None
    database_connections_max: Annotated[
        int, Field(ge=2, description="connections of the API; a request waits for one")
    ] = 10
    database_wait_s_max: Annotated[float, Field(gt=0, description="wait for a connection; then 503")] = 10.0
    statement_s_max: Annotated[
        float, Field(gt=0, description="a query of a request is ended after this; then 503")
    ] = 30.0

    token_issuer: Annotated[str | None, Field(description="accepted `iss` of access tokens")] = None
    token_audience: Annotated[str, Field(description="accepted `aud` of access tokens")] = "bpm"  # noqa: S105 - a name
    token_jwks_file: Annotated[
        Path | None,
        Field(description="JSON Web Key Set with the Ed25519 keys that sign access tokens"),
    ] = None
    token_leeway_s: Annotated[int, Field(ge=0, le=60, description="tolerated difference of clocks")] = 30
    token_life_s_max: Annotated[int, Field(gt=0, description="tokens of a longer life are refused")] = 900
    development_token_life_s: Annotated[
        int, Field(gt=0, le=43_200, description="life of development tokens")
    ] = 43_200
    tenant_cache_s: Annotated[float, Field(ge=0, description="a tenant's settings may be this old")] = 5.0

    json_body_bytes_max: Annotated[int, Field(gt=0, description="JSON and NDJSON telemetry; then 413")] = (
        4 << 20
    )
    arrow_body_bytes_max: Annotated[int, Field(gt=0, description="Arrow telemetry; then 413")] = 16 << 20
    record_body_bytes_max: Annotated[int, Field(gt=0, description="bodies of all other routes; then 413")] = (
        1 << 20
    )
    json_readings_max: Annotated[
        int, Field(gt=0, description="readings in a JSON or NDJSON body; then 413")
    ] = 10_000
    arrow_readings_max: Annotated[int, Field(gt=0, description="readings in an Arrow body; then 413")] = (
        200_000
    )
    ignored_keys_max: Annotated[int, Field(ge=0, description="unknown keys named in a receipt")] = 20
    pack_name_characters_max: Annotated[int, Field(gt=0, description="length of a pack's external id")] = 200
    receipt_items_max: Annotated[int, Field(ge=0, description="readings that a receipt lists one by one")] = (
        10_000
    )
    csv_rows_max: Annotated[int, Field(gt=0, description="rows of a CSV registration; then 413")] = 100_000

    future_s_max: Annotated[
        int, Field(ge=0, description="how far in the future a reading may lie; else quarantined")
    ] = 300
    late_s_max: Annotated[
        int, Field(gt=0, description="how late a live reading may arrive; else quarantined")
    ] = 30 * 86_400
    late_after_s: Annotated[
        int, Field(ge=0, description="a live reading that arrives later than this counts as late")
    ] = 900
    import_from_year: Annotated[
        int, Field(ge=1970, description="imports may begin here; else quarantined")
    ] = 1990
    clock_jump_s_max: Annotated[
        int, Field(gt=0, description="a larger jump of the clock stops live ingest; 503")
    ] = 60

    queue_readings_max: Annotated[
        int, Field(gt=0, description="readings waiting, live and bulk each; then 429")
    ] = 1_000_000
    bulk_readings_min: Annotated[
        int, Field(gt=0, description="late batches of this size queue with imports")
    ] = 2_000
    group_readings_max: Annotated[int, Field(gt=0, description="readings committed in one transaction")] = (
        250_000
    )
    recover_s_max: Annotated[
        float, Field(gt=0, description="wait for the store after an error; then 503")
    ] = 30.0
    save_state_s: Annotated[float, Field(gt=0, description="time between savings of the writer's state")] = (
        5.0
    )
    retry_after_s: Annotated[int, Field(gt=0, description="Retry-After of 429 and 503")] = 1

    page_items_max: Annotated[int, Field(gt=0, description="largest `limit` of a list; more is 422")] = 1_000
    trend_points_max: Annotated[int, Field(gt=0, description="readings in one answer; then 422")] = 5_000_000
    trend_measures_max: Annotated[int, Field(gt=0, description="measures in one answer")] = 7

    failpoint: Annotated[
        str | None,
        Field(description="development only: STAGE:N ends the process when it reaches STAGE the Nth time"),
    ] = None
