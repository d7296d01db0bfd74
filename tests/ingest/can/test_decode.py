from collections.abc import Sequence

import cantools
import numpy as np
import pytest
from cantools.database import Database
from cantools.database.can import Message, Signal
from cantools.database.conversion import BaseConversion
from cantools.database.errors import DecodeError as CantoolsDecodeError

from domain.errors import DecodeError
from domain.measures import MEASURE_INDEX
from ingest.can.bits import BitLayout
from ingest.can.databases import NamedDatabase, load_database, plan_messages
from ingest.can.decode import Decoder
from ingest.can.frames import FrameBatch, FrameColumns
from ingest.can.mapping import CanMap, EveryMilliseconds, MeasureRule, MessageRule, SlowestMessage
from ingest.recorded import RecordedReadings, joined

VOLTAGE, CURRENT = MEASURE_INDEX["voltage_v"], MEASURE_INDEX["current_a"]


def byte_signal(name: str, byte: int, scale: float = 1, offset: float = 0) -> Signal:
    conversion = BaseConversion.factory(scale=scale, offset=offset)
    return Signal(name, 8 * byte, 8, conversion=conversion)


def database(*messages: Message, name: str = "made.dbc") -> NamedDatabase:
    return NamedDatabase(name, Database(messages=list(messages)))


PACK = Message(0x100, "Pack", 2, [byte_signal("Volts", 0), byte_signal("Amperes", 1)])
SLOW = Message(0x200, "Slow", 1, [byte_signal("Charge", 0)])
VOLTS = MeasureRule("voltage_v", "Pack", "Volts")
AMPERES = MeasureRule("current_a", "Pack", "Amperes")
CHARGE = MeasureRule("state_of_charge_pct", "Slow", "Charge")


def frames(*rows: tuple[float, int, str], channel: str = "", extended: bool = False) -> FrameBatch:
    columns = FrameColumns()
    for time_s, arbitration_id, data in rows:
        columns.append(
            time_s, channel, arbitration_id, extended or arbitration_id > 0x7FF, bytes.fromhex(data)
        )
    return columns.take()


def decoded(decoder: Decoder, *batches: FrameBatch) -> RecordedReadings:
    parts = [decoder.decode(batch, np.rint(batch.time_s * 1e6).astype(np.int64)) for batch in batches]
    return joined([*parts, decoder.finish()])


def rows(readings: RecordedReadings, *measures: str) -> list[tuple[float | None, ...]]:
    values = readings.values[[MEASURE_INDEX[measure] for measure in measures]].T
    return [
        (time_ms, *(None if np.isnan(value) else value for value in row))
        for time_ms, row in zip(readings.ts_ms.tolist(), values.tolist(), strict=True)
    ]


def test_each_frame_gives_a_reading_with_what_it_carries():
    decoder = Decoder(CanMap((VOLTS, AMPERES, CHARGE)), [database(PACK, SLOW)])
    readings = decoded(decoder, frames((1.0, 0x100, "0102"), (1.001, 0x200, "32"), (1.002, 0x300, "00")))
    assert rows(readings, "voltage_v", "current_a", "state_of_charge_pct") == [
        (1000, 1.0, 2.0, None),
        (1001, None, None, 50.0),
    ]
    assert (decoder.counts.decoded, decoder.counts.not_mapped) == (2, 1)


def test_factor_offset_and_sign_of_the_map_win_over_the_database():
    message = Message(0x100, "Pack", 1, [byte_signal("Amperes", 0, scale=0.5, offset=-10)])
    for rule, expected in (
        ({}, 0.0),
        ({"factor": 1.0}, 10.0),
        ({"offset": 5.0}, 15.0),
        ({"factor": 1.0, "sign": -1}, -10.0),
        ({"factor": 0.0, "offset": 0.0, "sign": -1}, 0.0),
    ):
        decoder = Decoder(CanMap((MeasureRule("current_a", "Pack", "Amperes", **rule),)), [database(message)])
        value = decoded(decoder, frames((1.0, 0x100, "14"))).values[CURRENT, 0]
        assert value == expected
        assert not np.signbit(value) or value != 0.0


def test_signal_that_no_database_describes_is_cut_out_by_its_bits():
    rule = MeasureRule("voltage_v", 0x18FF1234, BitLayout(7, 16, big_endian=True, signed=False), factor=0.1)
    decoder = Decoder(CanMap((rule,)), [])
    assert decoded(decoder, frames((1.0, 0x18FF1234, "0E10"))).values[VOLTAGE].tolist() == [360.0]


def test_standard_and_extended_frames_of_the_same_number_are_not_confused():
    rule = MeasureRule("voltage_v", 0x100, BitLayout(0, 8, big_endian=False, signed=False))
    columns = FrameColumns()
    columns.append(1.0, "", 0x100, True, b"\x01")
    batch = columns.take()
    assert len(decoded(Decoder(CanMap((rule,)), []), batch)) == 0
    extended = CanMap((rule,), messages=(MessageRule(0x100, extended=True),))
    assert len(decoded(Decoder(extended, []), batch)) == 1


def test_value_that_is_not_available_leaves_only_its_measure_out():
    rule = MeasureRule("voltage_v", "Pack", "Volts", not_available=(255, 254))
    decoder = Decoder(CanMap((rule, AMPERES)), [database(PACK)])
    readings = decoded(decoder, frames((1.0, 0x100, "FF02"), (2.0, 0x100, "0102")))
    assert rows(readings, "voltage_v", "current_a") == [(1000, None, 2.0), (2000, 1.0, 2.0)]


def test_frame_that_says_it_means_nothing_is_dropped_as_a_whole():
    can_map = CanMap((VOLTS, AMPERES), messages=(MessageRule("Pack", drop_frame_when=(("Volts", (255,)),)),))
    decoder = Decoder(can_map, [database(PACK)])
    readings = decoded(decoder, frames((1.0, 0x100, "FF02"), (2.0, 0x100, "0102")))
    assert readings.ts_ms.tolist() == [2000]
    assert decoder.counts.dropped["not_available"] == 1


def test_only_the_channels_of_the_map_are_read():
    decoder = Decoder(CanMap((VOLTS,), channels=frozenset({"0"})), [database(PACK)])
    readings = decoded(
        decoder, frames((1.0, 0x100, "0102"), channel="1"), frames((2.0, 0x100, "0102"), channel="0")
    )
    assert readings.ts_ms.tolist() == [2000]
    assert decoder.counts.dropped["other_channel"] == 1


def test_frame_shorter_than_its_signal_is_counted():
    decoder = Decoder(CanMap((AMPERES,)), [database(PACK)])
    assert len(decoded(decoder, frames((1.0, 0x100, "01"), (2.0, 0x100, "")))) == 0
    assert decoder.counts.dropped["frame_too_short"] == 2


def test_signal_beyond_a_classic_frame_is_read_from_a_longer_one():
    rule = MeasureRule("voltage_v", 0x100, BitLayout(8 * 20, 8, big_endian=False, signed=False))
    decoder = Decoder(CanMap((rule,)), [])
    readings = decoded(
        decoder, frames((1.0, 0x100, "00" * 8)), frames((2.0, 0x100, "00" * 20 + "07" + "00" * 3))
    )
    assert rows(readings, "voltage_v") == [(2000, 7.0)]


def test_multiplexed_signals_are_read_where_cantools_reads_them(shared_data):
    path = shared_data / "can_format_samples" / "issue_184_extended_mux_cascaded.dbc"
    message = cantools.database.load_file(path, strict=False).get_message_by_name("ext_MUX_cascaded")
    data = [bytes([a, b, 3, 4, 5, 6, 7, 8][: message.length]) for a in range(4) for b in range(4)]
    for name in ("muxed_A_1", "muxed_B_0", "muxed_B_1"):
        decoder = Decoder(CanMap((MeasureRule("voltage_v", message.name, name),)), [load_database(path)])
        batch = frames(
            *((float(i), message.frame_id, frame.hex()) for i, frame in enumerate(data)),
            extended=message.is_extended_frame,
        )
        found = dict(rows(decoded(decoder, batch), "voltage_v"))
        for i, frame in enumerate(data):
            try:
                expected = message.decode(frame).get(name)
            except CantoolsDecodeError:
                continue  # a selector that the file doesn't know; cantools gives up on the whole frame
            assert found.get(i * 1000) == expected, (name, frame)
        assert found


def test_the_slowest_message_gives_a_reading_with_the_latest_of_all():
    can_map = CanMap((VOLTS, AMPERES, CHARGE), framing=SlowestMessage("Slow"))
    decoder = Decoder(can_map, [database(PACK, SLOW)])
    first = frames((1.0, 0x200, "0A"), (1.1, 0x100, "0102"), (1.2, 0x100, "0304"), (1.3, 0x200, "0B"))
    second = frames((1.4, 0x200, "0C"))
    assert rows(decoded(decoder, first, second), "voltage_v", "current_a", "state_of_charge_pct") == [
        (1000, None, None, 10.0),
        (1300, 3.0, 4.0, 11.0),
        (1400, 3.0, 4.0, 12.0),
    ]


def test_a_value_that_became_unavailable_is_not_repeated():
    rule = MeasureRule("voltage_v", "Pack", "Volts", not_available=(255,))
    decoder = Decoder(CanMap((rule, CHARGE), framing=SlowestMessage("Slow")), [database(PACK, SLOW)])
    batch = frames((1.0, 0x100, "0100"), (1.1, 0x200, "0A"), (1.2, 0x100, "FF00"), (1.3, 0x200, "0B"))
    assert rows(decoded(decoder, batch), "voltage_v") == [(1100, 1.0), (1300, None)]


@pytest.mark.parametrize("batch_frames", [1, 2, 100])
def test_every_interval_with_frames_gives_one_reading_at_its_end(batch_frames):
    can_map = CanMap((VOLTS, CHARGE), framing=EveryMilliseconds(100))
    decoder = Decoder(can_map, [database(PACK, SLOW)])
    sent = [
        (1.01, 0x100, "0100"),
        (1.02, 0x100, "0200"),
        (1.15, 0x200, "0A"),
        (1.16, 0x300, "00"),
        (1.51, 0x100, "0300"),
    ]
    batches = [frames(*sent[start : start + batch_frames]) for start in range(0, len(sent), batch_frames)]
    assert rows(decoded(decoder, *batches), "voltage_v", "state_of_charge_pct") == [
        (1100, 2.0, None),
        (1200, 2.0, 10.0),
        (1600, 3.0, 10.0),
    ]


@pytest.mark.parametrize("batch_frames", [1, 3, 100])
def test_frames_of_one_message_within_a_millisecond_go_to_the_next_free_ones(batch_frames):
    decoder = Decoder(CanMap((VOLTS, CHARGE)), [database(PACK, SLOW)])
    sent = [
        (1.0, 0x100, "0100"),
        (1.0002, 0x100, "0200"),
        (1.0003, 0x200, "0A"),
        (1.001, 0x100, "0300"),
        (1.5, 0x100, "0400"),
    ]
    batches = [frames(*sent[start : start + batch_frames]) for start in range(0, len(sent), batch_frames)]
    assert rows(decoded(decoder, *batches), "voltage_v", "state_of_charge_pct") == [
        (1000, 1.0, None),
        (1001, 2.0, None),
        (1000, None, 10.0),
        (1002, 3.0, None),
        (1500, 4.0, None),
    ]


def test_a_clock_that_stands_still_is_not_made_to_look_like_a_good_one():
    decoder = Decoder(CanMap((VOLTS,)), [database(PACK)])
    readings = decoded(decoder, frames(*((1.0, 0x100, "0100") for _ in range(50))))
    assert sorted(set(readings.ts_ms.tolist())) == list(range(1000, 1011))


def test_a_recording_that_begins_again_gives_the_same_times_again():
    decoder = Decoder(CanMap((VOLTS,)), [database(PACK)])
    batch = frames((1.0, 0x100, "0100"), (1.0001, 0x100, "0200"), (3.0, 0x100, "0300"))
    assert decoded(decoder, batch, batch).ts_ms.tolist() == [1000, 1001, 3000] * 2


OTHER_PACK = Message(0x100, "Pack", 2, [byte_signal("Volts", 1)])


@pytest.mark.parametrize(
    ("can_map", "databases", "message"),
    [
        (CanMap((VOLTS,)), [], "No DBC file given describes the message Pack"),
        (CanMap((MeasureRule("voltage_v", "Pack", "Volt"),)), [database(PACK)], "Pack has no signal Volt"),
        (CanMap((VOLTS,), messages=(MessageRule("Slow"),)), [database(PACK, SLOW)], "no measure .* Slow"),
        (CanMap((VOLTS,), framing=SlowestMessage("Slow")), [database(PACK, SLOW)], "no measure .* Slow"),
        (CanMap((VOLTS,), messages=(MessageRule("Pack", dbc="b.dbc"),)), [database(PACK)], r"b\.dbc"),
        (CanMap((VOLTS,)), [database(PACK), database(OTHER_PACK, name="b.dbc")], "described differently"),
        (CanMap((VOLTS, MeasureRule("current_a", 0x100, "Amperes"))), [database(PACK)], "in two ways"),
    ],
)
def test_map_that_does_not_fit_the_databases_is_refused(can_map, databases, message):
    with pytest.raises(DecodeError, match=message):
        plan_messages(can_map, databases)


def test_the_map_says_which_of_several_databases_describes_a_message():
    both: Sequence[NamedDatabase] = [database(PACK), database(OTHER_PACK, name="b.dbc")]
    can_map = CanMap((VOLTS,), messages=(MessageRule("Pack", dbc="b.dbc"),))
    assert decoded(Decoder(can_map, both), frames((1.0, 0x100, "0102"))).values[VOLTAGE].tolist() == [2.0]


def test_databases_that_agree_need_no_choice():
    decoder = Decoder(CanMap((VOLTS,)), [database(PACK), database(PACK, name="b.dbc")])
    assert len(decoded(decoder, frames((1.0, 0x100, "0102")))) == 1


@pytest.mark.parametrize("content", [b"", b"BO_ 475 x1DB: 8", b"\xff\xfe\x00", b"BO_ x x1DB: 8 X\n"])
def test_damaged_database_is_refused_by_name(tmp_path, content):
    path = tmp_path / "bad.dbc"
    path.write_bytes(content)
    with pytest.raises(DecodeError, match=r"bad\.dbc|No DBC file"):
        plan_messages(CanMap((VOLTS,)), [load_database(path)])
