"""What frames say, before they are put together into readings."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ingest.can.mapping import MessageKey


@dataclass(frozen=True, slots=True, eq=False)
class DecodedFrames:
    """What n frames say.

    carried: bool[measures, n], the frame holds the measure, with or without a value.
    values: float64[measures, n], NaN where there is none. of_message: bool[n] by message, frames not dropped.
    """

    carried: npt.NDArray[np.bool_]
    values: npt.NDArray[np.float64]
    of_message: dict[MessageKey, npt.NDArray[np.bool_]]
