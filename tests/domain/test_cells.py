"""Where a tenant is decides what it is answered."""

import pytest

from domain.cells import Cell, Place, Placement
from domain.errors import (
    ForbiddenError,
    TenantDeletingError,
    TenantElsewhereError,
    TenantMovingError,
    TenantSuspendedError,
)
from domain.policy import Action
from domain.tenancy import TenantState


def test_tenant_that_is_here_is_answered() -> None:
    Place().require_near("acme")
    Place().require_settled("acme", 1)


@pytest.mark.parametrize("placement", [Placement.LEAVING, Placement.SEALED])
def test_tenant_on_its_way_is_read_and_not_changed(placement: Placement) -> None:
    place = Place(placement, "north", "https://north")
    place.require_near("acme")
    with pytest.raises(TenantMovingError) as refused:
        place.require_settled("acme", 3)
    assert refused.value.facts == {"retry_after_s": 3}


def test_tenant_that_has_moved_is_told_where_to() -> None:
    place = Place(Placement.MOVED, "north", "https://north")
    for ask in (lambda: place.require_near("acme"), lambda: place.require_settled("acme", 1)):
        with pytest.raises(TenantElsewhereError) as refused:
            ask()
        assert refused.value.facts == {"cell": "north", "url": "https://north"}


def test_a_cell_shows_no_password() -> None:
    assert "geheim" not in repr(Cell("north", "https://north", "postgresql://bpm:geheim@north/bpm"))


def test_what_reads_changes_nothing_and_all_else_does() -> None:
    assert not Action.TELEMETRY_READ.changes
    assert not Action.TICKET_WRITE.changes
    assert all(
        action.changes
        for action in Action
        if action.value.endswith((":write", ":import")) and action is not Action.TICKET_WRITE
    )


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        (TenantState.SUSPENDED, TenantSuspendedError),
        (TenantState.DELETING, TenantDeletingError),
        (TenantState.ERASING, TenantDeletingError),
    ],
)
def test_tenant_that_is_not_served_is_answered_nothing(
    state: TenantState, kind: type[ForbiddenError]
) -> None:
    place = Place(state=state)
    for ask in (lambda: place.require_near("acme"), lambda: place.require_settled("acme", 1)):
        with pytest.raises(kind):
            ask()
