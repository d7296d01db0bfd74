"""Where a tenant is, and whether it is served there: installations that share nothing are cells."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from domain.errors import (
    TenantDeletingError,
    TenantElsewhereError,
    TenantMovingError,
    TenantSuspendedError,
)
from domain.tenancy import TenantState


class Placement(StrEnum):
    """Of a tenant, as the cell sees it that is asked.

    leaving: nothing new is taken in. sealed: nothing of it changes any more, and a copy may be taken of it.
    """

    HERE = "here"
    LEAVING = "leaving"
    SEALED = "sealed"
    MOVED = "moved"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tenant is, or where it is going, and whether it is served. cell, url: None while it simply is here."""

    placement: Placement = Placement.HERE
    cell: str | None = None
    url: str | None = None
    state: TenantState = TenantState.ACTIVE

    def require_near(self, tenant: str) -> None:
        """Raises what says why the tenant isn't served here: TenantElsewhereError, and TenantSuspendedError or
        TenantDeletingError.

        >>> Place(Placement.SEALED, "north", "https://north.example").require_near("acme")
        """
        if self.placement is Placement.MOVED:
            raise TenantElsewhereError(f"{tenant} is on the cell {self.cell}", cell=self.cell, url=self.url)
        if self.state is TenantState.SUSPENDED:
            raise TenantSuspendedError(f"{tenant} is suspended: ask who runs this installation")
        if self.state is not TenantState.ACTIVE:
            raise TenantDeletingError(f"{tenant} is being deleted: ask who runs this installation")

    def require_settled(self, tenant: str, retry_after_s: int) -> None:
        """Raises what says why nothing can be changed now: what `require_near` does, and TenantMovingError."""
        self.require_near(tenant)
        if self.placement is not Placement.HERE:
            raise TenantMovingError(f"{tenant} is being moved to another cell", retry_after_s=retry_after_s)


HERE: Final = Place()


@dataclass(frozen=True, slots=True)
class Cell:
    """Another cell, as the cells file names it. database_url: of its administrator; it may hold a password."""

    name: str
    url: str
    database_url: str

    def __repr__(self) -> str:
        return f"Cell({self.name!r}, {self.url!r})"
