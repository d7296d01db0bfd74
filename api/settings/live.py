"""Sockets and live streams."""

from pydantic import Field
from pydantic_settings import BaseSettings


class Live(BaseSettings):
    """Tickets, frames, feeds and connections."""

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
