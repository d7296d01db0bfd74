"""How many live connections there may be."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from domain.errors import BusyError
from domain.tenancy import TenantId


class Seats:
    """How many live connections there may be: of all, of one tenant, and of those who haven't said who they are,
    all and from one network.
    """

    def __init__(
        self, of_all_max: int, of_tenant_max: int, of_strangers_max: int, of_network_max: int
    ) -> None:
        self._of_all_max = of_all_max
        self._of_tenant_max = of_tenant_max
        self._of_strangers_max = of_strangers_max
        self._taken: Counter[TenantId] = Counter()
        self._of_network_max = of_network_max
        self._strangers: Counter[str | None] = Counter()

    @property
    def taken_by_all(self) -> int:
        """How many live connections there are."""
        return self._taken.total()

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
            if self._taken[tenant] == 0:
                del self._taken[tenant]

    def strangers_wait(self, network: str | None) -> bool:
        """Whether no connection more from a network may wait for its first frame.

        None is what has no address, such as a local socket: only all together are limited.
        """
        if network is not None and self._strangers[network] >= self._of_network_max:
            return True
        return self._strangers.total() >= self._of_strangers_max

    @contextmanager
    def waiting(self, network: str | None) -> Iterator[None]:
        """A place to wait for a first frame; ask `strangers_wait` before."""
        self._strangers[network] += 1
        try:
            yield
        finally:
            self._strangers[network] -= 1
            if self._strangers[network] == 0:
                del self._strangers[network]
