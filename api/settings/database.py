"""Which PostgreSQL is used, and how many connections to it."""

from pathlib import Path

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings


class Database(BaseSettings):
    """An outside PostgreSQL, or the embedded one."""

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


class DatabaseConnections(BaseSettings):
    """What requests may take of it."""

    database_connections_max: int = Field(
        10, ge=2, description="connections of the API; a request waits for one"
    )
    database_wait_s_max: float = Field(10.0, gt=0, description="wait for a connection; then 503")
    statement_s_max: float = Field(
        30.0, gt=0, description="a query of a request is ended after this; then 503"
    )
