"""What the engine has for signing people in, joined."""

import time
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from api.auth import TokenVerifier, make_verifier
from api.identity.housekeeping import Housekeeping, HousekeepingLimits
from api.identity.issuing import Issuer
from api.identity.keys import KeyRing, open_key_ring
from api.identity.outside_issuers import OutsideIssuers, make_outside_issuers
from api.identity.passwords import Passwords, make_passwords
from api.identity.revocations import RevocationLimits, Revocations
from api.settings import Settings
from api.timer import Timer
from domain.clock import AnchoredClock
from storage.sessions import OPERATORS, BlockLimits, Failures, SessionLimits, SignIns
from storage.transactions import Pool

_KEYS_FOLDER = "signing-keys"
_S_PER_HOUR = 3600
_S_PER_DAY = 86_400


@dataclass(frozen=True, slots=True)
class Identity:
    """Keys, tokens, passwords, the stored half of signing in, and what has ended."""

    ring: KeyRing
    verifier: TokenVerifier
    issuer: Issuer
    outside_issuers: OutsideIssuers
    passwords: Passwords
    sign_ins: SignIns
    operator_sign_ins: SignIns
    failures: Failures
    revocations: Revocations
    housekeeping: Housekeeping

    def sign_ins_of(self, secret: str) -> SignIns:
        """Those whose invitation or refresh token it would be."""
        return self.operator_sign_ins if secret.startswith(OPERATORS.prefix) else self.sign_ins

    def tasks(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """What goes on while the engine runs."""
        return self.revocations.run(), self.housekeeping.run()


def keys_folder(settings: Settings) -> Path:
    """Where the keys are that sign our own tokens."""
    return settings.signing_keys_dir or settings.data_dir.absolute() / _KEYS_FOLDER


def rotation_settles_s(settings: Settings) -> float:
    """So long tokens of a key may live that signs no more."""
    return settings.access_token_life_s + settings.token_leeway_s


def make_identity(
    settings: Settings, conninfo: str, directory: Pool, clock: AnchoredClock, timer: Timer
) -> Identity:
    """The parts; nothing runs yet. Raises SettingsRefusedError for keys that can't be used."""
    ring = open_key_ring(keys_folder(settings), time.time_ns() // 1_000_000)
    limits = RevocationLimits(
        settings.revocation_poll_s, settings.revocation_s_max, settings.token_leeway_s, settings.retry_after_s
    )
    sessions = SessionLimits(
        settings.refresh_token_hours * _S_PER_HOUR,
        settings.session_days_max * _S_PER_DAY,
        settings.sessions_max,
    )
    return Identity(
        ring=ring,
        verifier=make_verifier(settings, time.time, ring),
        issuer=Issuer(
            ring, settings.own_issuer, settings.token_audience, settings.access_token_life_s, time.time
        ),
        outside_issuers=make_outside_issuers(settings, time.time, time.monotonic),
        passwords=make_passwords(settings),
        sign_ins=SignIns(directory, sessions),
        operator_sign_ins=SignIns(directory, sessions, OPERATORS),
        failures=Failures(
            directory,
            BlockLimits(
                settings.sign_in_failures_free,
                settings.sign_in_wait_s,
                settings.sign_in_wait_s_max,
                settings.sign_in_memory_hours * _S_PER_HOUR,
            ),
        ),
        revocations=Revocations(conninfo, directory, ring, limits, timer),
        housekeeping=Housekeeping(directory, clock, HousekeepingLimits.of(settings), settings.user_sweep_s),
    )
