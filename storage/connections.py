"""Connections that are given up when the server stands still.

Such a server says nothing, also not that a statement took its time; and its machine acknowledges what is sent to it, so
that nothing else tells: whoever asked would wait for good. Statements may take long, so their time isn't limited here:
when nothing has come for a while, it is asked whether the server lets anybody in.
"""

import errno
import os
import time
from contextlib import suppress
from typing import Any, Final

import psycopg
from psycopg.abc import RV, PQGen
from psycopg.conninfo import make_conninfo
from psycopg.pq import TransactionStatus
from psycopg.rows import Row
from psycopg.waiting import Ready

from storage.database import CONNECT_S_MAX

SILENT_S_MAX: Final = 30.0
"""So long nothing may come before it is asked whether the server answers at all."""

_LOOK_S: Final = 0.1
"""How often it is looked how long nothing has come, as psycopg looks for interruptions."""


_CANCEL_S_MAX: Final = 5.0
"""As psycopg has it: what was interrupted while it was asked isn't left to the server, with its locks."""


class Connection(psycopg.Connection[Row]):
    """psycopg's, which is closed and raises OperationalError when the server stands still."""

    def wait(self, gen: PQGen[RV], interval: float = _LOOK_S, timeout: float | None = None) -> RV:
        """What `gen` gives."""
        until_s = None if timeout is None else time.monotonic() + timeout
        steps = _until_silent(gen)
        while True:
            try:
                return super().wait(steps, interval, _left_s(until_s))
            except _SilentError:
                try:
                    psycopg.connect(_asking(self)).close()
                except psycopg.Error as error:
                    _give_up_unless_answered(self, error)
                except BaseException:
                    if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                        with suppress(psycopg.Error):
                            self.cancel_safe(timeout=_CANCEL_S_MAX)
                        self.pgconn.finish()
                    raise
                steps = _until_silent(gen, goes_on=True)


class AsyncConnection(psycopg.AsyncConnection[Row]):
    """psycopg's, which is closed and raises OperationalError when the server stands still."""

    async def wait(
        self,
        gen: PQGen[RV],
        interval: float = _LOOK_S,
        timeout: float | None = None,  # noqa: ASYNC109 - as psycopg has it
    ) -> RV:
        """What `gen` gives."""
        until_s = None if timeout is None else time.monotonic() + timeout
        steps = _until_silent(gen)
        while True:
            try:
                return await super().wait(steps, interval, _left_s(until_s))
            except _SilentError:
                try:
                    await (await psycopg.AsyncConnection.connect(_asking(self))).close()
                except psycopg.Error as error:
                    _give_up_unless_answered(self, error)
                except BaseException:
                    if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                        with suppress(psycopg.Error):
                            await self.cancel_safe(timeout=_CANCEL_S_MAX)
                        self.pgconn.finish()
                    raise
                steps = _until_silent(gen, goes_on=True)


connect = Connection.connect
connect_async = AsyncConnection.connect


class _SilentError(Exception):
    """Nothing has come for so long."""


def _until_silent(gen: PQGen[RV], *, goes_on: bool = False) -> PQGen[RV]:
    """The steps of `gen`, until nothing has come for too long. goes_on: it has begun, and isn't ready."""
    heard_s = time.monotonic()
    try:
        wanted = gen.send(Ready.NONE) if goes_on else next(gen)
        while True:
            ready = yield wanted
            now_s = time.monotonic()
            if ready:
                heard_s = now_s
            elif now_s - heard_s > SILENT_S_MAX:
                raise _SilentError
            wanted = gen.send(ready or Ready.NONE)
    except StopIteration as done:
        result: RV = done.value
        return result


def _left_s(until_s: float | None) -> float | None:
    return None if until_s is None else max(0.0, until_s - time.monotonic())


def _asking(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> str:
    """The way to the same server, by which it is asked whether it answers."""
    info = connection.info
    return make_conninfo(info.dsn, password=info.password, connect_timeout=CONNECT_S_MAX)


def _give_up_unless_answered(
    connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any], error: psycopg.Error
) -> None:
    """Whoever is refused has been answered; that a server is away is told by the connection itself.

    At a socket of the machine's own the kernel refuses whoever comes once too many wait for a server to let them in.
    """
    if isinstance(error, psycopg.errors.ConnectionTimeout) or os.strerror(errno.EAGAIN) in str(error):
        connection.pgconn.finish()
        raise psycopg.OperationalError("the database stands still: the connection is given up") from error
