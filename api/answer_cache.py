"""Bodies of answers that are kept, and the state of the store for which each is right."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

_BESIDE_BODY_BYTES: Final = 1024
"""What a key and the places that hold it take, roughly."""

_SHARE_MAX: Final = 8
"""No body takes more than this part of the whole."""


class AnswerCache:
    """Bodies by question, the one asked longest ago given up first. For one thread.

    A question holds whose it is: tenants, and credentials with other limits, never meet. A body is given only for the
    state of the store that it was made from.
    """

    def __init__(self, bytes_max: int) -> None:
        """bytes_max: all bodies together; 0 keeps none."""
        self._bytes_max = bytes_max
        self._kept: OrderedDict[Hashable, tuple[Hashable, bytes]] = OrderedDict()
        self.bytes = 0
        self.hits = 0

    def get(self, question: Hashable, state: Hashable) -> bytes | None:
        """The body that answers a question while the store is in this state."""
        found = self._kept.get(question)
        if found is None or found[0] != state:
            return None
        self._kept.move_to_end(question)
        self.hits += 1
        return found[1]

    def put(self, question: Hashable, state: Hashable, body: bytes) -> None:
        """Keep a body, unless it is too large, in place of what was kept for the question."""
        before = self._kept.pop(question, None)
        if before is not None:
            self.bytes -= len(before[1]) + _BESIDE_BODY_BYTES
        size = len(body) + _BESIDE_BODY_BYTES
        if size > self._bytes_max // _SHARE_MAX:
            return
        self._kept[question] = (state, body)
        self.bytes += size
        while self.bytes > self._bytes_max:
            _, (_, given_up) = self._kept.popitem(last=False)
            self.bytes -= len(given_up) + _BESIDE_BODY_BYTES
