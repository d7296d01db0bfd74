"""Simulated readings as files: tables of a fleet, and the CAN log of one pack with its DBC and map."""

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.csv

from domain.errors import InvalidRequestError
from domain.measures import MEASURE_NAMES
from ingest.simulation.fleet import FleetReadings, SimulatedPack

TABLES: Final = (".csv", ".arrow")
LOGS: Final = (".log", ".asc", ".blf")

_HERE: Final = Path(__file__).parent
_MEASURE_OF: Final = {
    "BMS_State": ("StateOfCharge", "StateOfHealth", "Temperature"),
    "BMS_Pack": ("Voltage", "Current"),
    "BMS_Cells": ("CellVoltageMin", "CellVoltageMax"),
}
"""Signals of each message, in the order of MEASURES."""


def to_table(readings: Sequence[FleetReadings], packs: Sequence[SimulatedPack]) -> pa.Table:
    """The readings as the API takes them: pack, ts in milliseconds, and every measure."""
    names = pa.array([pack.name for pack in packs])
    pack = np.concatenate([one.pack for one in readings])
    values = np.concatenate([one.values for one in readings], axis=1)
    columns = {
        "pack": names.take(pa.array(pack)),
        "ts": pa.array(np.concatenate([one.ts_ms for one in readings])),
    }
    return pa.table(columns | {name: pa.array(row) for name, row in zip(MEASURE_NAMES, values, strict=True)})


def write_table(path: Path, parts: Iterable[pa.Table]) -> int:
    """Write tables one after the other, as CSV or as an Arrow IPC stream; gives the number of rows.

    Raises InvalidRequestError for another ending, OSError.
    """
    if path.suffix not in TABLES:
        raise InvalidRequestError(f"a table ends in {' or '.join(TABLES)}", field="output")
    rows = 0
    writer: Any = None
    try:
        for part in parts:
            if writer is None:
                make = pa.csv.CSVWriter if path.suffix == ".csv" else pa.ipc.new_stream
                writer = make(str(path), part.schema)
            writer.write_table(part)
            rows += part.num_rows
    finally:
        if writer is not None:
            writer.close()
    return rows


def write_can_log(path: Path, readings: Iterable[FleetReadings], pack: int) -> tuple[int, Path, Path]:
    """Write one pack's readings as frames of a CAN bus, and beside the log its DBC and map.

    Gives the number of readings, and where the DBC and the map are. Raises InvalidRequestError for another ending of
    the log's name, OSError.
    """
    if path.suffix not in LOGS:
        raise InvalidRequestError(f"a CAN log ends in {', '.join(LOGS)}", field="output")
    import can  # brings much that nobody else needs
    import cantools

    dbc, map_file = path.with_suffix(".dbc"), path.with_suffix(".yaml")
    shutil.copyfile(_HERE / "pack.dbc", dbc)
    shutil.copyfile(_HERE / "pack-map.yaml", map_file)
    described = cantools.database.can.Database()
    described.add_dbc_file(dbc)
    messages = [(described.get_message_by_name(name), signals) for name, signals in _MEASURE_OF.items()]
    count = 0
    with can.Logger(path) as log:
        for part in readings:
            for place in np.flatnonzero(part.pack == pack).tolist():
                left = iter(part.values[:, place].tolist())
                for message, signals in messages:
                    data = message.encode({signal: next(left) for signal in signals})
                    log.on_message_received(
                        can.Message(
                            timestamp=part.ts_ms[place] / 1000,
                            arbitration_id=message.frame_id,
                            is_extended_id=False,
                            data=data,
                            channel=0,
                        )
                    )
                count += 1
    return count, dbc, map_file
