"""The live picture beside the writer: it follows what the writer commits, and what others change in the store."""

from collections.abc import Sequence

from domain.alerts import AlertTransition
from domain.errors import UnavailableError
from domain.readings import Int32Array, LastArrivals, LiveReadings
from streams.live_picture import LivePicture
from streams.ports import Store
from streams.state import State


class Live:
    """Belongs to the writer's thread, but for `picture`. All of it follows from the store: `load` brings it back.

    silent_after_s: a pack that hasn't reported live for so long is silent. skew_s_max: one whose clock is further off
    is skewed.
    """

    def __init__(self, store: Store, silent_after_s: int, skew_s_max: int, retry_after_s: int) -> None:
        self._store = store
        self._silent_after_s = silent_after_s
        self._skew_s_max = skew_s_max
        self._retry_after_s = retry_after_s
        self._picture: LivePicture | None = None
        self._snapshot = ""

    @property
    def picture(self) -> LivePicture:
        """The fleet as it is now. Raises UnavailableError while the state is being loaded."""
        picture = self._picture
        if picture is None:
            raise UnavailableError("the state is being loaded", retry_after_s=self._retry_after_s)
        return picture

    def forget(self) -> None:
        """Say nothing until it is loaded again."""
        self._picture = None

    def load(self, state: State, later: LiveReadings, now_ms: int) -> None:
        """Begin with what the store says; later: the live readings committed since the state was saved."""
        picture = LivePicture(self._silent_after_s, self._skew_s_max, now_ms)
        state.take_changed()
        holders, self._snapshot = self._store.holders()
        arrivals, alerts = self._store.last_arrivals(), self._store.open_alerts()
        picture.load(state, holders, arrivals, later, alerts)
        self._learn(picture)
        self._picture = picture

    def committed(
        self, state: State, live: LiveReadings, transitions: Sequence[AlertTransition], now_ms: int
    ) -> None:
        """Follow a group after its COMMIT."""
        picture = self.picture
        picture.pass_time(state, now_ms)
        if not picture.knows_holders(live):
            # Packs were registered or changed hands, before these readings were judged.
            self.follow_holders(state)
        picture.arrive(state, state.take_changed(), live)
        self.happened(transitions)

    def happened(self, transitions: Sequence[AlertTransition]) -> None:
        """Follow what became of alerts, after its COMMIT."""
        if transitions:
            self.picture.happened(transitions)
            self._learn(self.picture)

    def turn(self, state: State, transitions: Sequence[AlertTransition], now_ms: int) -> None:
        """Follow what happened between groups: time, corrections, timers."""
        changed = state.take_changed()
        if len(changed):
            self.picture.arrive(state, changed, LiveReadings.none())
        self.happened(transitions)
        self.picture.pass_time(state, now_ms)

    def follow_holders(self, state: State) -> None:
        """Follow registrations, moves and changes of sites and models of packs."""
        changed, holders, self._snapshot = self._store.holders_since(self._snapshot)
        if len(changed) == 0:
            return
        picture = self.picture
        picture.hold(state, changed, holders)
        moved = picture.alerts.tenures_of(changed)
        if moved:
            picture.learn(self._store.tenure_scopes(moved))

    def _learn(self, picture: LivePicture) -> None:
        unknown = picture.alerts.unknown_tenures()
        if unknown:
            picture.learn(self._store.tenure_scopes(unknown))

    def arrivals_of(self, pack: Int32Array) -> LastArrivals:
        """The last arrivals of packs, to be saved with their states."""
        return self.picture.arrivals_of(pack)
