import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from domain.errors import DecodeError
from ingest.can.frames import FrameBatch
from ingest.can.readers import Recording

ENV200 = "can_leaf_env200_40kwh_charge"


def written(tmp_path: Path, name: str, text: str) -> Recording:
    path = tmp_path / name
    path.write_text(text)
    return Recording(path)


def only_batch(recording: Recording) -> FrameBatch:
    (batch,) = recording.batches()
    return batch


def dropped(recording: Recording) -> dict[str, int]:
    return {reason.value: count for reason, count in recording.dropped.items()}


@pytest.mark.parametrize("ending", ["asc", "trc", "csv"])
def test_each_format_of_the_first_thousand_frames_gives_them_all(shared_data, ending):
    batch = only_batch(Recording(shared_data / ENV200 / f"bms_first1000.{ending}"))
    whole = only_batch(Recording(shared_data / ENV200 / "bms_only.log"))
    assert len(batch) == 1_000
    np.testing.assert_array_equal(batch.data, whole.data[:1_000])
    np.testing.assert_array_equal(batch.arbitration_id, whole.arbitration_id[:1_000])
    # The .asc header has whole milliseconds only, so that its times may be behind by one.
    np.testing.assert_allclose(batch.time_s, whole.time_s[:1_000], rtol=0, atol=1.1e-3)


def test_every_python_can_sample_gives_its_expected_counts(shared_data):
    folder = shared_data / "can_format_samples"
    expected = json.loads((folder / "expected.json").read_text())
    counts = {}
    for name in expected:
        recording = Recording(folder / name)
        identifiers = {f"0x{i:x}" for batch in recording.batches() for i in batch.arbitration_id.tolist()}
        counts[name] = {
            "n": recording.frames,
            "err": recording.dropped["error_frame"],
            "remote": recording.dropped["remote_frame"],
        }
        listed = expected[name]["ids"]  # eight at most
        assert identifiers <= set(listed) or len(listed) == 8, name
    assert counts == {
        name: {key: figures[key] for key in ("n", "err", "remote")} for name, figures in expected.items()
    }


def test_mf4_frames_are_read_and_counted(shared_data):
    recording = Recording(shared_data / "can_uds_leaf_mf4" / "00000001.MF4")
    batch = only_batch(recording)
    assert recording.frames == len(batch) == 5_588
    assert batch.time_s[0] == pytest.approx(1641469561.9497, abs=1e-3)


def test_mf4_without_its_extra_says_what_to_install(tmp_path):
    path = tmp_path / "log.mf4"
    path.write_bytes(b"MDF     4.10")
    script = (
        "import sys; sys.modules['asammdf'] = None\n"
        "from pathlib import Path\n"
        "from domain.errors import DecodeError\n"
        "from ingest.can.readers import Recording\n"
        "try: list(Recording(Path(sys.argv[1])).batches())\n"
        "except DecodeError as error: print(error)\n"
    )
    answer = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True)
    assert "pip install 'bpm-os-engine[mf4]'" in answer.stdout, answer.stderr


def test_files_are_told_apart_by_content_not_by_ending(tmp_path):
    formats = {
        "a.csv": "timestamp,arbitration_id,extended,remote,error,dlc,data\n1.0,0x1db,0,0,0,1,AA==\n",
        "b.csv": "Time Stamp,ID,Extended,Bus,LEN,D1\n100,0000010A,false,0,1,00\n",
        "c.txt": "  can0  1C2   [1]  5C\n",
        "d.log": "  can0  1C2   [1]  5C\n",
        "e.txt": "(1632426782.445681) can0 1C2#5C\n",
        "f.txt": "1632426782.045940 1R11 679 00\n",
    }
    read = {}
    for name, text in formats.items():
        recording = written(tmp_path, name, text)
        assert len(only_batch(recording)) == 1
        read[name] = recording.format.value
    assert read == {
        "a.csv": "python-can csv",
        "b.csv": "gvret csv",
        "c.txt": "candump console",
        "d.log": "candump console",
        "e.txt": "candump log",
        "f.txt": "crtd",
    }


def test_file_of_no_known_format_is_refused_by_name(tmp_path):
    with pytest.raises(DecodeError, match=r"letter\.txt"):
        written(tmp_path, "letter.txt", "Dear Sir or Madam\n")


def test_file_that_is_not_there_is_refused_by_name(tmp_path):
    with pytest.raises(DecodeError, match=r"absent\.log"):
        Recording(tmp_path / "absent.log")


GOOD_AND_BAD = {
    "a.log": (
        "(1.0) can0 1DB#00\nrubbish\n(x) can0 1DB#00\n(2.0) can0 1DB#0G\n\n(3.0) can0 1DB#0102\n",
        {"bad_line": 3},
    ),
    "a.csv": (
        (
            "timestamp,arbitration_id,extended,remote,error,dlc,data\n1.0,0x1db,0,0,0,1,AA==\n"
            "1.5,0x1db,0,0\nx,0x1db,0,0,0,1,AA==\n3.0,0x1db,0,0,0,2,AQI=\n"
        ),
        {"bad_line": 2},
    ),
    "a.asc": (
        (
            "date Thu, 09 Nov 2023 20:36:33 GMT\nbase hex  timestamps absolute\nbegin triggerblock\n"
            " 1.000000 1  1DB             Rx   d 1 00\n 2.000000 1  1DB Rx d 1 ZZ\nStatistic: D 0 R 0\n"
            " 3.000000 1  1DB             Rx   d 2 01 02\nend triggerblock\n"
        ),
        {"bad_line": 1, "not_a_frame": 1},
    ),
    "a.trc": (
        (
            ";$FILEVERSION=1.1\n;$STARTTIME=44462.5\n;\n"
            "     1)      1000.0  Rx         01DB  1  00\n     2)      2000.0  Rx         01DB  1  GG\n"
            "     3)  x\n     4)      3000.0  Rx         01DB  2  01 02\n"
        ),
        {"bad_line": 1, "not_a_frame": 1},
    ),
    "gvret.csv": (
        (
            "Time Stamp,ID,Extended,Bus,LEN,D1,D2\n1000000,000001DB,false,0,1,00\n5,1DB\n"
            "2000000,000001DB,false,0,2,00\n2000000,00000FFF,false,0,1,00\n3000000,000001DB,false,0,2,01,02,\n"
        ),
        {"bad_line": 3},
    ),
    "a.crtd": (
        "1.0 CXX OVMS CRTD\n1.0 1R11 1DB 00\n1.5 1R11\n2.0 1R11 1DB 0\n2.5 hello\n3.0 R11 1DB 01 02\n",
        {"bad_line": 2, "not_a_frame": 1},
    ),
    "a.txt": (
        (
            "(1.0)  can0  1DB   [1]  00\n^Z\n  can0  1DB   [8]  00 01\n  can0  1DB   [1]  ZZ\n"
            "(3.0)  can0  1DB   [2]  01 02   '..'\n"
        ),
        {"not_a_frame": 1, "bad_line": 2},
    ),
}


@pytest.mark.parametrize("name", GOOD_AND_BAD)
def test_bad_lines_are_counted_and_the_frames_around_them_read(tmp_path, name):
    text, counts = GOOD_AND_BAD[name]
    recording = written(tmp_path, name, text)
    batch = only_batch(recording)
    assert [bytes(row[:length]) for row, length in zip(batch.data, batch.length, strict=True)] == [
        b"\x00",
        b"\x01\x02",
    ]
    assert np.diff(batch.time_s).tolist() == [2.0]
    assert dropped(recording) == counts


def test_error_and_remote_frames_are_counted_and_not_decoded(tmp_path):
    log = "(1.0) can0 20000004#0000000000000000\n(1.1) can0 20000080#0000000000000000\n(1.2) can0 123#R\n(1.3) can0 123#00\n"
    console = "  can0  20000080   [8]  00 00 00 00 00 00 00 00   ERRORFRAME\n  can0  123   [0]  remote request\n  can0  123  [1]  00\n"
    for name, text, errors in (("a.log", log, 2), ("a.txt", console, 1)):
        recording = written(tmp_path, name, text)
        assert only_batch(recording).arbitration_id.tolist() == [0x123]
        assert dropped(recording) == {"error_frame": errors, "remote_frame": 1}
        assert recording.frames == errors + 2


def test_asc_times_counted_from_the_line_before_are_added_up(tmp_path):
    text = (
        "date Sat Sep 30 03:06:13.191 PM 2017\nbase hex  timestamps relative\n"
        " 0.500000 1  100             Rx   d 1 00\n 0.250000 Statistic: D 0\n 0.250000 1  100  Rx   d 1 00\n"
    )
    batch = only_batch(written(tmp_path, "a.asc", text))
    began = datetime(2017, 9, 30, 15, 6, 13, 191_000, tzinfo=UTC).timestamp()
    np.testing.assert_allclose(batch.time_s - began, [0.5, 1.0], atol=1e-6)


def test_asc_with_a_date_of_a_comma_keeps_its_decimal_base(tmp_path):
    text = "date Thu, 09 Nov 2023 20:36:33 GMT\nbase dec  timestamps absolute\n 1.0 1  100  Rx   d 1 16\n"
    batch = only_batch(written(tmp_path, "a.asc", text))
    assert (batch.arbitration_id[0], batch.data[0, 0]) == (100, 16)


def test_gvret_times_go_on_when_the_counter_starts_again(tmp_path):
    text = "Time Stamp,ID,Extended,Bus,LEN,D1\n4294967000,1DB,false,0,1,00\n704,1DB,false,0,1,00\n"
    batch = only_batch(written(tmp_path, "a.csv", text))
    assert np.diff(batch.time_s).tolist() == [pytest.approx(0.001)]


def test_truncated_blf_gives_the_frames_before_the_damage(shared_data, tmp_path):
    whole = (shared_data / ENV200 / "bms_only.blf").read_bytes()
    path = tmp_path / "short.blf"
    path.write_bytes(whole[: len(whole) // 2] + b"\xff" * 2_000)
    recording = Recording(path)
    assert 0 < sum(len(batch) for batch in recording.batches()) < 10_776
    assert dropped(recording) == {"damaged_from_here": 1}


def test_blf_without_a_frame_before_the_damage_is_a_decode_error(tmp_path):
    path = tmp_path / "bad.blf"
    path.write_bytes(b"LOGG" + b"\x01" * 60)
    with pytest.raises(DecodeError, match=r"bad\.blf is damaged"):
        list(Recording(path).batches())


def test_batches_are_of_the_size_asked_for(shared_data):
    recording = Recording(shared_data / ENV200 / "bms_only.blf", batch_frames_max=5_000)
    assert [len(batch) for batch in recording.batches()] == [5_000, 5_000, 776]
    assert recording.position_bytes == recording.size_bytes
