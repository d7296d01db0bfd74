"""The way to a database, for commands that need no engine as for the engine itself."""

from dataclasses import dataclass, field

from api.settings import Settings
from storage.checks import check_database
from storage.database import APP_ROLE, INGEST_ROLE, conninfo_as, lasting
from storage.migrate import migrate
from storage.transactions import Pool, open_pool

_REGISTRY_CONNECTIONS_MAX = 4


@dataclass(frozen=True, slots=True)
class DatabaseAccess:
    """How to reach the database: as administrator, and as the login that serves (None: the administrator).

    Both hold passwords, which are shown nowhere.
    """

    admin: str = field(repr=False)
    service: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "admin", lasting(self.admin))
        if self.service is not None:
            object.__setattr__(self, "service", lasting(self.service))

    def as_role(self, role: str, settings: Settings) -> str:
        timeout_s = settings.statement_s_max if role == APP_ROLE else 0
        return conninfo_as(
            self.service or self.admin,
            role,
            application=f"bpm {role}",
            statement_timeout_s=timeout_s,
            lock_timeout_s=settings.lock_s_max,
        )


def prepare_database(access: DatabaseAccess, service_login: str | None) -> list[str]:
    """Migrate, and refuse to go on when tenants aren't kept apart. Returns what was applied."""
    applied = migrate(access.admin, service_login)
    check_database(access.admin, access.service)
    return applied


def open_pools(settings: Settings, access: DatabaseAccess) -> tuple[Pool, Pool]:
    """Pools that are not open yet: of the role for requests, and of the one that looks up whose they are."""
    requests = open_pool(
        access.as_role(APP_ROLE, settings),
        connections_max=settings.database_connections_max,
        wait_s_max=settings.database_wait_s_max,
    )
    directory = open_pool(
        access.as_role(INGEST_ROLE, settings),
        connections_max=_REGISTRY_CONNECTIONS_MAX,
        wait_s_max=settings.database_wait_s_max,
    )
    return requests, directory
