"""The engine's clock over drift, jumps and confirmation (rule E6)."""

from dataclasses import dataclass

from domain.clock import AnchoredClock


@dataclass
class Machine:
    """A machine's two clocks."""

    wall: int = 1_800_000_000_000
    monotonic: int = 5_000

    def pass_ms(self, ms: int, drift_ms: int = 0) -> None:
        self.monotonic += ms
        self.wall += ms + drift_ms


def started() -> tuple[Machine, AnchoredClock]:
    machine = Machine()
    return machine, AnchoredClock(lambda: machine.wall, lambda: machine.monotonic, jump_ms_max=60_000)


def test_e6_small_corrections_of_the_wall_clock_are_followed() -> None:
    machine, clock = started()
    for _ in range(10):
        machine.pass_ms(1000, drift_ms=500)
        assert clock.now_ms() == machine.wall
    assert clock.jumped_by_ms is None


def test_e6_jump_freezes_until_it_is_confirmed() -> None:
    for jump in (3_600_000, -3_600_000, 30 * 86_400_000, -30 * 86_400_000):
        machine, clock = started()
        machine.pass_ms(1000, drift_ms=jump)
        assert clock.now_ms() == machine.wall - jump
        assert clock.jumped_by_ms == jump
        machine.pass_ms(500)
        assert clock.now_ms() == machine.wall - jump
        clock.confirm()
        assert clock.jumped_by_ms is None
        assert clock.now_ms() == machine.wall


def test_time_does_not_go_back_by_small_corrections() -> None:
    machine, clock = started()
    before = clock.now_ms()
    machine.pass_ms(10, drift_ms=-1000)
    assert clock.now_ms() == before
    machine.pass_ms(2000)
    assert clock.now_ms() == machine.wall


def test_evidence_from_outside_freezes_too() -> None:
    _, clock = started()
    clock.require_confirmation(-120_000)
    clock.now_ms()
    assert clock.jumped_by_ms == -120_000
