"""A short run of what `python -m tests.faults` does for long: readings, windows and alerts over kills."""

import random

from tests.faults.campaign import ACKNOWLEDGEMENTS_MIN, Fault, kept_when_it_fails, run_round

FAULTS = [
    *[Fault.APP] * 3,
    *[Fault.POSTGRES] * 3,
    Fault.BEFORE_COMMIT,
    Fault.AFTER_COMMIT,
    Fault.IN_COUNT_BEFORE_COMMIT,
    Fault.IN_COUNT_AFTER_COMMIT,
]


def test_acknowledged_is_stored_and_nothing_twice_over_kills() -> None:
    seed = random.randrange(1_000_000)
    faults = random.Random(seed).sample(FAULTS, len(FAULTS))
    with kept_when_it_fails(seed) as folder:
        result = run_round(faults, seed, folder, print)
        result.require_agreement()
        assert sum(result.done.values()) == len(FAULTS)
        assert result.acknowledged >= ACKNOWLEDGEMENTS_MIN
        assert result.retried > 0
        assert result.corrections > 0
        assert result.alerts > 0
        assert result.waiting > 0
        assert result.answers > len(FAULTS) // 2
        assert result.heard > 0
        assert result.drops > len(FAULTS)
