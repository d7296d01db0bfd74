"""Where a tenant is: installations that share nothing are cells, and each says of its tenants where they are."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from domain.errors import TenantElsewhereError, TenantMovingError


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
    """Where a tenant is, or where it is going. cell, url: None while it simply is here."""

    placement: Placement = Placement.HERE
    cell: str | None = None
    url: str | None = None

    def require_near(self, tenant: str) -> None:
        """Raises TenantElsewhereError when the tenant has moved.

        >>> Place(Placement.SEALED, "north", "https://north.example").require_near("acme")
        """
        if self.placement is Placement.MOVED:
            raise TenantElsewhereError(f"{tenant} is on the cell {self.cell}", cell=self.cell, url=self.url)

    def require_settled(self, tenant: str, retry_after_s: int) -> None:
        """Raises what says why nothing can be changed now: TenantElsewhereError, TenantMovingError."""
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
