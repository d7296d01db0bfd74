"""What is taken in: bodies, their readings, and the times that these may have."""

from pydantic import Field
from pydantic_settings import BaseSettings


class Intake(BaseSettings):
    """Bodies, readings and times."""

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
