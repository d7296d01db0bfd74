"""How many live connections there may be."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from domain.errors import BusyError
from domain.tenancy import TenantId


class Seats:
    """How many live connections there may be, of all and of one tenant."""

    def __init__(self, of_all_max: int, of_tenant_max: int) -> None:
        self._of_all_max = of_all_max
        self._of_tenant_max = of_tenant_max
        self._taken: Counter[TenantId] = Counter()

    @contextmanager
    def taken(self, tenant: TenantId) -> Iterator[None]:
        """A seat for as long as the context lasts. Raises BusyError when there is none."""
        if self._taken[tenant] >= self._of_tenant_max or self._taken.total() >= self._of_all_max:
            raise BusyError("there are too many live connections", retry_after_s=1)
        self._taken[tenant] += 1
        try:
            yield
        finally:
            self._taken[tenant] -= 1
