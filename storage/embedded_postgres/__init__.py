"""The embedded PostgreSQL: a server of our own, started, watched and stopped by the engine."""

from storage.embedded_postgres.config import Connections, EmbeddedConfig
from storage.embedded_postgres.supervisor import EmbeddedPostgres, connections_of_running

__all__ = ["Connections", "EmbeddedConfig", "EmbeddedPostgres", "connections_of_running"]
