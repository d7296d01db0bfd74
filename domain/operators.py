"""Who runs the installation: operators belong to no tenant, and see nothing of one unless it lets them for a time."""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from domain.tenancy import Role

INSTALLATION: Final = "installation"
"""Who did what a command did: whoever may use the machine."""


@dataclass(frozen=True, slots=True)
class Operator:
    """An authenticated operator of the installation."""

    subject: str
    roles: frozenset[Role]


@dataclass(frozen=True, slots=True)
class Doer:
    """Who does something to a tenant or an operator. request_id, client_address: of a request, where it is one."""

    subject: str = INSTALLATION
    request_id: str = ""
    client_address: str | None = None


def subject_of(operator_id: UUID) -> str:
    """What credentials and logs call an operator: it says nothing of the person, and outlives the record."""
    return f"operator:{operator_id}"
