"""Both ends of a log, and what it has lost of what was to come."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lost:
    """What a log doesn't have, though it was to come next.

    first, last: the positions that are lost; last is None where the log ends before the first, and nobody knows how
    many there were. goes_on_at: where everything begins that the log still has. why: what was found, in words.
    """

    first: int
    last: int | None
    goes_on_at: int
    why: str

    @property
    def named(self) -> str:
        """As people name it.

        >>> Ends(5, 9).lost(3).named, Ends(0, 3).lost(5).named
        ('3-4', '5-')
        """
        return f"{self.first}-{'' if self.last is None else self.last}"

    @property
    def messages_max(self) -> int | None:
        """How many messages there were at most; None where nobody knows."""
        return None if self.last is None else self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class Ends:
    """The first position that a log still has, and the one behind its last."""

    first: int
    behind: int

    def lost(self, position: int) -> Lost | None:
        """What the log has lost of what is to come from a position on; None when it has the position.

        >>> Ends(5, 9).lost(3).why
        'positions 3 to 4 are lost: the topic has dropped them, and begins at 5'
        """
        if position < self.first:
            dropped = f"positions {position} to {self.first - 1} are lost"
            why = f"{dropped}: the topic has dropped them, and begins at {self.first}"
            return Lost(position, self.first - 1, self.first, why)
        if position > self.behind:
            ends = f"position {position} comes next, and the topic ends at {self.behind}"
            return Lost(position, None, self.first, f"{ends}: what it had there is lost")
        return None
