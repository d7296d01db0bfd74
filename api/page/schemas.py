"""Shapes of the page's own requests."""

from typing import Annotated

from pydantic import Field

from api.routing import Name, Strict
from domain.tenancy import Role


class WantedToken(Strict):
    """Whose token is wanted in development."""

    tenant: Name
    role: Annotated[Role, Field(strict=False)]
