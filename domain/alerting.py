"""What rules see of readings, and what they say: columns, as readings are."""

from dataclasses import dataclass

import numpy as np

from domain.measures import MEASURES
from domain.readings import Int32Array, Int64Array


@dataclass(frozen=True, slots=True, eq=False)
class LiveReadings:
    """The live, accepted readings of a group in their order of arrival, n of them (rule E17).

    tenant int32[n], tenure int32[n], pack int32[n], ts_ms int64[n], arrived_ms int64[n] of the reading's batch.
    batch int32[n], position of the batch in its group. thousandths int32[measures, n]: only what is new in the
    store, ABSENT elsewhere.
    """

    tenant: Int32Array
    tenure: Int32Array
    pack: Int32Array
    ts_ms: Int64Array
    arrived_ms: Int64Array
    batch: Int32Array
    thousandths: Int32Array

    def __len__(self) -> int:
        return len(self.pack)

    @staticmethod
    def none() -> "LiveReadings":
        of_int32, of_int64 = np.empty(0, np.int32), np.empty(0, np.int64)
        nothing = np.empty((len(MEASURES), 0), np.int32)
        return LiveReadings(of_int32, of_int32, of_int32, of_int64, of_int64, of_int32, nothing)
