"""How much may be asked for: connections, the pace of a request, rates, and alerts of what was refused."""

from pydantic import Field
from pydantic_settings import BaseSettings


class Connections(BaseSettings):
    """Connections, and the time that each part of a request may take."""

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


class Rates(BaseSettings):
    """Rates, and from when on refusals raise an alert."""

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
