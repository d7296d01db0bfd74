"""Whatever stands in a recording, it is read, counted or refused with a DecodeError."""

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from domain.errors import DecodeError
from ingest.can.frame_times import FrameTimes
from ingest.can.readers import Recording

HEADS = {
    "a.log": b"(1.0) can0 1DB#00\n",
    "a.csv": b"timestamp,arbitration_id,extended,remote,error,dlc,data\n",
    "a.asc": b"date Thu, 09 Nov 2023 20:36:33 GMT\nbase hex  timestamps relative\n",
    "a.trc": b";$FILEVERSION=2.1\n;$STARTTIME=44462.8\n;$COLUMNS=N,O,T,B,I,d,R,L,D\n",
    "old.trc": b";$FILEVERSION=1.1\n;$STARTTIME=44462.8\n",
    "gvret.csv": b"Time Stamp,ID,Extended,Bus,LEN,D1,D2\n",
    "a.crtd": b"1.0 CXX OVMS CRTD\n",
    "a.txt": b"  can0  1C2   [1]  5C\n",
}
FRAME_LINES = st.sampled_from(
    [
        b"(1.0) can0 1DB#00", b"(1e999) can0 1DB#00", b"(nan) can0 1DB#00", b"(-1e300) can0 FFFFFFFFFFFF#00",
        b"1.0,0x1db,0,0,0,1,AA==", b"1.0,0xfffffffff,0,0,0,1,AA==", b"1.0,-0x1,0,0,0,1,AA==",
        b" 1.0 1  1DB  Rx d 1 00", b" 1.0 1  FFFFFFFFFFx  Rx d 1 00", b" 1.0 CANFD 1 Rx 1DB 0 0 8 8 00",
        b"  1  1.0 DT 1 01DB Rx - 1 00", b"  1) 1.0 Rx 01DB 1 00", b"100,1DB,false,0,1,00",
        b"99999999999999999999,1DB,false,0,1,00", b"1.0 1R11 1DB 00", b"  can0  1DB   [64]  00",
    ]
)  # fmt: skip


@pytest.mark.parametrize("name", HEADS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(FRAME_LINES | st.binary(max_size=60), max_size=12))
def test_any_lines_are_read_counted_or_refused(tmp_path, name, lines):
    path = tmp_path / name
    path.write_bytes(HEADS[name] + b"\n".join(lines))
    recording = Recording(path)
    read = 0
    for batch in recording.batches():
        read += len(batch)
        times = FrameTimes(start_us=0, rate_hz=1.0).stamp(batch, name)
        assert times.dtype == np.int64
        assert batch.length.max(initial=0) <= batch.data.shape[1]
    lost = {"error_frame", "remote_frame"}
    assert recording.frames >= read + sum(recording.dropped[reason] for reason in lost)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(position=0, value=b"MDF ")
@given(position=st.integers(0, 82_235), value=st.binary(min_size=1, max_size=20))
def test_blf_with_damaged_bytes_is_read_counted_or_refused(shared_data, tmp_path, position, value):
    whole = bytearray((shared_data / "can_leaf_env200_40kwh_charge" / "bms_only.blf").read_bytes())
    whole[position : position + len(value)] = value
    path = tmp_path / "damaged.blf"
    path.write_bytes(whole)
    recording, read = Recording(path), 0
    with suppress(DecodeError):  # anything else fails the test
        for batch in recording.batches():
            read += len(batch)
    assert read <= recording.frames <= 10_776
