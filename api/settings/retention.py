"""How long readings, receipts and the audit log are kept, and in which form."""

from pydantic import Field
from pydantic_settings import BaseSettings


class Retention(BaseSettings):
    """Readings, receipts, notes of bodies, audit entries."""

    columns_after_days: float = Field(
        1.0, ge=0, description="with TimescaleDB, a day's readings are put in columns so long after its end"
    )
    columns_look_s: float = Field(
        60.0, gt=0, description="with TimescaleDB, time between looks for days to put in columns"
    )

    readings_keep_days: int | None = Field(
        None,
        ge=7,
        description="raw readings of the retention class `standard` are kept for so long at least, and no less than"
        " `BPM_LATE_S_MAX`; then their days are archived, and dropped; without, for good. Windows are kept for good",
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

    audit_days_min: int | None = Field(
        None,
        ge=90,
        description="entries of the audit log are kept for so long at least, then dropped; without, for good. The"
        " database itself refuses to drop any of the last 90 days",
    )
    audit_look_s: float = Field(3600.0, gt=0, description="time between looks for audit entries to drop")
    audit_look_entries_max: int = Field(10_000, gt=0, description="audit entries dropped at one look")
