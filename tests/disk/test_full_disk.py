"""A short run of what `python -m tests.disk` does for long."""

import pytest

from tests.disk.rounds import Fill, MountRefusedError, Result, SmallInstallation, small_disk

FILLS = (Fill.BELOW_MARK, Fill.LAST_BYTE)


def test_nothing_acknowledged_is_lost_on_a_full_disk_and_readings_go_on_by_themselves() -> None:
    result = Result()
    try:
        with small_disk() as folder:
            installation = SmallInstallation(folder)
            try:
                for number, fill in enumerate(FILLS):
                    installation.fill_once(fill, number, result)
            finally:
                installation.clear()
    except MountRefusedError as error:
        pytest.skip(f"needs the right to mount a tmpfs: {error}")
    assert result.done == dict.fromkeys(FILLS, 1)
    assert result.answers[507] > 0
    assert result.acknowledged > 0
