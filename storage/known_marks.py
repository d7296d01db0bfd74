"""Marks of packs that were found to be those of the database, so that each is asked for once."""

from typing import Final

import numpy as np

from domain.readings import Int32Array, PackMarks

_PLACES_MIN: Final = 1024


class KnownMarks:
    """By number, as long as a connection lasts: a database that was restored is another connection.

    partitions: over which packs are spread; those of one partition have every so many-th number.
    """

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._mark = np.zeros(_PLACES_MIN, np.int64)

    def _places(self, pack: Int32Array) -> Int32Array:
        return pack // np.int32(self._partitions)

    def unknown(self, marks: PackMarks) -> PackMarks:
        """Those that weren't learnt."""
        place = self._places(marks.pack)
        known = np.zeros(len(place), np.int64)
        within = place < len(self._mark)
        known[within] = self._mark[place[within]]
        new = known != marks.mark
        return PackMarks(marks.pack[new], marks.mark[new])

    def learn(self, marks: PackMarks) -> None:
        """Remember some. Another tenant's name for the same pack, which has another mark, takes the place."""
        place = self._places(marks.pack)
        last = int(place.max(initial=0))
        if last >= len(self._mark):
            grown = np.zeros(max(2 * len(self._mark), last + 1), np.int64)
            grown[: len(self._mark)] = self._mark
            self._mark = grown
        self._mark[place] = marks.mark
