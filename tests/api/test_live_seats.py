"""How many live connections there may be, of one tenant and of all."""

from contextlib import ExitStack

import pytest

from api.live.seats import Seats
from domain.errors import BusyError
from domain.tenancy import TenantId

ONE, OTHER, THIRD = map(TenantId, (1, 2, 3))


def test_tenant_has_its_seats_and_all_together_have_theirs() -> None:
    seats = Seats(of_all_max=3, of_tenant_max=2, of_strangers_max=1, of_network_max=1)
    with ExitStack() as stack:
        for tenant in (ONE, ONE):
            stack.enter_context(seats.taken(tenant))
        with pytest.raises(BusyError), seats.taken(ONE):
            pass
        stack.enter_context(seats.taken(OTHER))
        with pytest.raises(BusyError), seats.taken(THIRD):
            pass
        assert seats.taken_by_all == 3
    assert seats.taken_by_all == 0
    with seats.taken(THIRD):
        assert seats.taken_by_all == 1
