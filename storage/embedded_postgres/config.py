"""What the embedded server is told, and what it answers."""

from dataclasses import dataclass
from pathlib import Path

POSTGRES_MAJOR = 18
ADMIN_LOGIN = "bpm_admin"
SERVICE_LOGIN = "bpm_service"
DATABASE = "bpm"
PORT = 5432
"""Names the socket file only; nothing listens on TCP."""


@dataclass(frozen=True, slots=True)
class EmbeddedConfig:
    """How to run the embedded server.

    data_dir: everything of the server lives below it (BPM_DATA_DIR).
    shared_buffers_mb: None fits it to the machine, or to the memory limit of its cgroup.
    run_as: the account of the server when the engine runs as root. None: the owner of an existing data
    directory if that isn't root, else the first that exists of postgres and nobody.
    start_stall_s_max: a start has no deadline; it is given up when the server shows no progress for so long.
    stop_s_max: a clean stop gets so long, then the server is stopped at once and recovers at the next start.
    durable: False never waits for the disk, so that a loss of power loses everything: for data nobody keeps.
    """

    data_dir: Path
    shared_buffers_mb: int | None = None
    run_as: str | None = None
    start_stall_s_max: float = 60.0
    stop_s_max: float = 60.0
    durable: bool = True


@dataclass(frozen=True, slots=True, repr=False)
class Connections:
    """Connection strings over the private socket; they hold passwords, so they have no repr."""

    admin: str
    service: str
