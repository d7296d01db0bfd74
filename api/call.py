"""One request's place in the engine: who calls, under which id, from where."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from api.engine import Engine
from domain.operators import Doer, Operator
from domain.tenancy import Actor
from storage.transactions import Transaction


@dataclass(frozen=True, slots=True)
class Call:
    """An actor that may do what its route does, on an engine. client_address: as the server knows it."""

    engine: Engine
    actor: Actor
    request_id: str
    client_address: str | None = None

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """A transaction of the actor's, which commits when left cleanly."""
        return self.engine.transactions.begin(self.actor, self.request_id, client_address=self.client_address)

    def snapshot(self) -> AbstractAsyncContextManager[Transaction]:
        """A read-only transaction of the actor's; all its reads see one state."""
        return self.engine.transactions.begin(self.actor, self.request_id, read_only=True)


@dataclass(frozen=True, slots=True)
class PlatformCall:
    """An operator of the installation that may do what its route does."""

    engine: Engine
    operator: Operator
    request_id: str
    client_address: str | None = None

    @property
    def doer(self) -> Doer:
        """Who does it, for logs."""
        return Doer(self.operator.subject, self.request_id, self.client_address)
