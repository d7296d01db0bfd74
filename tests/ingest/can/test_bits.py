import cantools
import numpy as np
import pytest
from cantools.database import Database
from cantools.database.can import Message, Signal
from cantools.database.conversion import BaseConversion
from hypothesis import given
from hypothesis import strategies as st

from ingest.can.bits import BitLayout, extract_raw
from ingest.can.databases import NamedDatabase, plan_messages
from ingest.can.decode import DecodeCounts, decode_frames
from ingest.can.frames import FrameColumns
from ingest.can.mapping import CanMap, MeasureRule

OVERLAPPING = {"x59E", "x3B9"}
"""Messages of a real file whose signals overlap in a way that cantools refuses to decode."""


@st.composite
def layouts(draw):
    big_endian = draw(st.booleans())
    length = draw(st.integers(1, 64))
    first = draw(st.integers(0, 64 - length))
    # In cantools' numbering; a big-endian signal starts at its most significant bit.
    start = 8 * (first // 8) + 7 - first % 8 if big_endian else first
    return BitLayout(start=start, length=length, big_endian=big_endian, signed=draw(st.booleans()))


def message_with(layout: BitLayout, scale: float = 1, offset: float = 0) -> Message:
    signal = Signal(
        "S",
        layout.start,
        layout.length,
        "big_endian" if layout.big_endian else "little_endian",
        is_signed=layout.signed,
        conversion=BaseConversion.factory(scale=scale, offset=offset, is_float=layout.floating),
    )
    return Message(0x123, "M", 8, [signal])


@given(layout=layouts(), frames=st.lists(st.binary(min_size=8, max_size=8), min_size=1, max_size=20))
def test_raw_values_equal_those_of_cantools_bit_by_bit(layout, frames):
    message = message_with(layout)
    expected = [message.decode(frame, scaling=False)["S"] for frame in frames]
    data = np.frombuffer(b"".join(frames), np.uint8).reshape(len(frames), 8)
    assert extract_raw(layout, data).tolist() == expected


@given(
    layout=layouts(),
    scale=st.sampled_from([0.5, 0.1, 0.01, 1.0, -2.0]),
    offset=st.sampled_from([0.0, -40.0, 0.25]),
    frame=st.binary(min_size=8, max_size=8),
)
def test_scaled_values_equal_those_of_cantools(layout, scale, offset, frame):
    message = message_with(layout, scale, offset)
    database = NamedDatabase("made.dbc", Database(messages=[message]))
    plans = plan_messages(CanMap((MeasureRule("voltage_v", "M", "S"),)), [database])
    columns = FrameColumns()
    columns.append(0.0, "", 0x123, False, frame)
    decoded = decode_frames(columns.take(), plans, frozenset(), DecodeCounts())
    value = decoded.values[~np.isnan(decoded.values)]
    assert value.tolist() == [pytest.approx(message.decode(frame)["S"], rel=1e-12)]


@pytest.mark.parametrize("length", [16, 32, 64])
@given(data=st.data())
def test_float_signals_equal_those_of_cantools(length, data):
    frame = data.draw(st.binary(min_size=8, max_size=8))
    layout = BitLayout(start=0, length=length, big_endian=False, signed=False, floating=True)
    expected = message_with(layout).decode(frame, scaling=False)["S"]
    raw = extract_raw(layout, np.frombuffer(frame, np.uint8).reshape(1, 8))
    assert raw[0] == expected or (np.isnan(raw[0]) and np.isnan(expected))


def test_every_signal_of_real_databases_is_cut_out_as_cantools_does(shared_data):
    rng = np.random.default_rng(1)
    compared = 0
    for path in sorted(shared_data.glob("can_*/*.dbc")):
        if path.name == "pcan.dbc":
            continue  # cantools refuses it
        for message in cantools.database.load_file(path, strict=False).messages:
            layouts = {
                signal.name: BitLayout(
                    signal.start, signal.length, signal.byte_order == "big_endian", signal.is_signed
                )
                for signal in message.signals
            }
            needed = max((layout.bytes_needed for layout in layouts.values()), default=0)
            if message.is_multiplexed() or message.name in OVERLAPPING or not needed <= message.length <= 8:
                continue
            frame = rng.integers(0, 256, 8, np.uint8)
            expected = message.decode(frame.tobytes()[: message.length], decode_choices=False, scaling=False)
            for name, layout in layouts.items():
                assert extract_raw(layout, frame.reshape(1, 8))[0] == expected[name], (path.name, name)
            compared += len(layouts)
    assert compared > 1_000
