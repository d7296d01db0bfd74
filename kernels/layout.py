"""Where things stand in a window's record; `kernels.rollup` says what they are."""

from typing import Final

import numpy as np

ABSENT: Final = np.iinfo(np.int32).min
INT32_MAX: Final = np.iinfo(np.int32).max

MEASURE_WORDS: Final = 7
PACK_WORDS: Final = 5

COUNT, MINIMUM, MAXIMUM, FIRST, LAST, FIRST_MS, LAST_MS, COVERED = range(8)
"""Halves of a measure's first words."""

SUM, SQUARES, AREA = 4, 5, 6
"""Words of a measure."""

CHARGED, CHARGED_ENERGY = 0, 2
"""Words behind the measures; what was discharged stands behind each."""

PACK_COVERED, ENERGY_COVERED = 8, 9
"""Halves behind the measures."""
