"""Alert rules, silences, and the statistics of alerts."""

from pydantic import Field
from pydantic_settings import BaseSettings


class AlertRules(BaseSettings):
    """Rules, silences and previews."""

    rules_max: int = Field(1000, gt=0, description="alert rules of a tenant; then 409")
    silences_max: int = Field(10_000, gt=0, description="silences of a tenant that haven't ended; then 409")
    preview_readings_max: int = Field(
        1_000_000, gt=0, description="stored readings over which a rule is previewed, the newest of them"
    )


class AlertStatistics(BaseSettings):
    """Looks at alerts that were."""

    alerts_scanned_max: int = Field(
        20_000,
        gt=0,
        description="alerts, or events of alerts, looked at for one page; a page may be short then, and go on",
    )
    statistics_days_max: int = Field(366, gt=0, description="longest range of alert statistics; then 422")
    statistics_alerts_max: int = Field(
        1_000_000, gt=0, description="alerts that statistics are computed from; then 422"
    )
