"""What a worker's metrics are like for whoever asks at any moment."""

import threading

from prometheus_client import generate_latest

from api.worker_reports import Pace, WorkerMetrics


def pace(behind: int) -> Pace:
    return Pace(behind, 0.0, None, 0, lost=False)


def test_what_stays_is_there_whenever_it_is_asked_for_and_what_went_is_not() -> None:
    waiting = [("readings", 1, 2.0)]
    metrics = WorkerMetrics("readings", "group", lambda: waiting)
    metrics.show({0: (pace(3), 1.0), 1: (pace(4), 1.0)})
    ended = threading.Event()

    def show() -> None:
        while not ended.is_set():
            metrics.show({0: (pace(5), 1.0)})

    thread = threading.Thread(target=show)
    thread.start()
    try:
        told = [generate_latest(metrics.registry).decode() for _ in range(300)]
    finally:
        ended.set()
        thread.join()
    assert all('bpm_partition_behind_messages{partition="0"}' in one for one in told)
    last = generate_latest(metrics.registry).decode()
    assert 'partition_behind_messages{partition="0"} 5.0' in last
    assert 'partition_behind_messages{partition="1"}' not in last
    assert "watermark_delay_seconds{" not in last
    waiting.clear()
    metrics.show({})
    assert "{partition" not in generate_latest(metrics.registry).decode()
