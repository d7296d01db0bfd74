"""All settings together, and what those of two areas must agree on."""

from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from api.settings.alerts import AlertRules, AlertStatistics
from api.settings.answers import Answers
from api.settings.database import Database, DatabaseConnections
from api.settings.delivering import Channels, Mail
from api.settings.identity import Identity
from api.settings.installation import Installation
from api.settings.intake import Intake
from api.settings.kafka import Kafka
from api.settings.live import Live
from api.settings.quarantine import Quarantine, Redriving
from api.settings.rates import Connections, Rates
from api.settings.retention import Retention
from api.settings.tenants import Cells, Tenants
from api.settings.web import Web
from api.settings.writer import Counting, Writer


# Pydantic begins with the fields of the last base: the reference lists the areas from the last one up.
class Settings(
    AlertStatistics,
    Mail,
    Channels,
    Cells,
    Live,
    AlertRules,
    Counting,
    Answers,
    Redriving,
    Retention,
    Quarantine,
    Writer,
    Rates,
    Connections,
    Intake,
    Tenants,
    Identity,
    DatabaseConnections,
    Kafka,
    Database,
    Web,
    Installation,
):
    """All settings; created once, in `api.bootstrap` or a command, never at import."""

    model_config = SettingsConfigDict(env_prefix="BPM_", extra="ignore", frozen=True)

    failpoint: str | None = Field(
        None, description="development only: STAGE:N ends the process when it reaches STAGE the Nth time"
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
