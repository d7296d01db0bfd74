"""Passwords: hashed by argon2id beside the event loop, a few at once, so that many sign-ins don't take the memory."""

import asyncio
import base64
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from api.settings import Settings
from domain.errors import BusyError

_SALT_BYTES: Final = 16
_HASH_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Turn:
    """The right to hash passwords, for as long as the context of `Passwords.turn` lasts."""

    _hasher: PasswordHasher
    _nobodys: str
    _threads: ThreadPoolExecutor

    async def hash(self, password: str) -> str:
        """The hash that is kept of a password."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._hasher.hash, password)

    async def matches(self, kept: str | None, password: str) -> bool:
        """Whether it is the password of a hash. Of no hash it is none, and takes as long."""
        compared = kept or self._nobodys
        loop = asyncio.get_running_loop()
        matches = await loop.run_in_executor(self._threads, self._verify, compared, password)
        return matches and kept is not None

    def is_outdated(self, kept: str) -> bool:
        """Whether a hash was made with other parameters than those of now."""
        return self._hasher.check_needs_rehash(kept)

    def _verify(self, kept: str, password: str) -> bool:
        try:
            return self._hasher.verify(kept, password)
        except (VerificationError, InvalidHashError):
            return False


class Passwords:
    """Hashes passwords, at most `at_once_max` at the same time."""

    def __init__(
        self, hasher: PasswordHasher, at_once_max: int, waiting_max: int, retry_after_s: int
    ) -> None:
        self._free = asyncio.Semaphore(at_once_max)
        self._waiting = 0
        self._waiting_max = waiting_max
        self._retry_after_s = retry_after_s
        self._threads = ThreadPoolExecutor(at_once_max, thread_name_prefix="password")
        self._turn = Turn(hasher, _hash_of_nothing(hasher), self._threads)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[Turn]:
        """Wait for a turn, in order. Raises BusyError when too many wait already."""
        if self._waiting >= self._waiting_max:
            raise BusyError("too many people sign in now", retry_after_s=self._retry_after_s)
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        try:
            yield self._turn
        finally:
            self._free.release()

    def stop(self) -> None:
        """End the threads when they are done."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _hash_of_nothing(hasher: PasswordHasher) -> str:
    """A hash of the hasher's parameters that no password has, made without hashing."""
    salt, made = (
        base64.b64encode(os.urandom(size)).rstrip(b"=").decode() for size in (_SALT_BYTES, _HASH_BYTES)
    )
    cost = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    return f"$argon2id$v=19${cost}${salt}${made}"


def make_passwords(settings: Settings) -> Passwords:
    """What hashes this installation's passwords."""
    hasher = PasswordHasher(
        settings.password_passes,
        settings.password_memory_kib,
        settings.password_lanes,
        hash_len=_HASH_BYTES,
        salt_len=_SALT_BYTES,
    )
    return Passwords(
        hasher, settings.passwords_at_once_max, settings.passwords_waiting_max, settings.retry_after_s
    )
