"""Refuses to start when the database doesn't keep tenants apart."""

from domain.errors import DatabaseRefusedError
from storage.connections import connect
from storage.database import query


def check_database(admin: str, service: str | None) -> None:
    """Raises DatabaseRefusedError that names every rule that is broken.

    admin: an administrator's connection. service: that of the login that serves, which must hold no privilege
    by itself; None when the administrator's login serves too.
    """
    with connect(admin) as connection:
        broken = [
            f"{rule}: {name}" for rule, name in connection.execute(query("checks.broken_rules")).fetchall()
        ]
    if service is not None:
        with connect(service) as connection:
            row = connection.execute(query("checks.privileged_login")).fetchone()
            if row is not None:
                broken.append(f"the serving login is privileged: {row[0]}")
    if broken:
        raise DatabaseRefusedError("the database doesn't keep tenants apart: " + "; ".join(broken))
