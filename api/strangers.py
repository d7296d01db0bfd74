"""How often an address may come without a valid credential: token buckets of addresses, each process its own."""

import hashlib
import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from api.rates import Rate
from domain.errors import RateLimitedError
from domain.security import host_of

_ADDRESSES_MAX: Final = 20_000
"""Of those that came last; one that is forgotten begins anew."""

_CREDENTIALS_MAX: Final = 20_000
"""Of those that were refused last."""

_REFUSED_KEPT_S: Final = 60.0
"""A refused credential isn't looked at again for so long where too many came: it may have been ended for a time."""

_LIMIT: Final = "stranger_requests_per_s_max"
_KIND: Final = "stranger_requests"


class Strangers:
    """Counts refused credentials by address. What has no address, such as a local socket, is not limited.

    refused: told the name of the limit at each refusal.
    """

    def __init__(self, rate: Rate, monotonic_s: Callable[[], float], refused: Callable[[str], None]) -> None:
        self._rate = rate
        self._monotonic_s = monotonic_s
        self._refused = refused
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._refused_at_s: OrderedDict[bytes, float] = OrderedDict()

    def note(self, address: str | None, credential: str = "") -> None:
        """Count one that came without a valid credential. credential: what was refused, where that is known."""
        if credential:
            digest = _digest(credential)
            self._refused_at_s[digest] = self._monotonic_s()
            self._refused_at_s.move_to_end(digest)
            if len(self._refused_at_s) > _CREDENTIALS_MAX:
                self._refused_at_s.popitem(last=False)
        host = host_of(address)
        if host is None:
            return
        left = self._left_of(host)
        self._left[host] = max(left - 1.0, 0.0), self._monotonic_s()
        self._left.move_to_end(host)
        if len(self._left) > _ADDRESSES_MAX:
            self._left.popitem(last=False)

    def came_too_often(self, address: str | None) -> bool:
        """Whether an address is to wait."""
        host = host_of(address) if self._left else None
        return host is not None and self._left_of(host) < 1.0

    def was_refused(self, credential: str) -> bool:
        """Whether a credential was refused of late, such as one that looks good and was ended."""
        at_s = self._refused_at_s.get(_digest(credential))
        return at_s is not None and self._monotonic_s() - at_s < _REFUSED_KEPT_S

    def refusal(self) -> RateLimitedError:
        """What such an address is answered; it is counted."""
        rate = self._rate
        self._refused(_LIMIT)
        detail = (
            f"more requests than {rate.per_s:g} a second came from your address without a valid credential"
        )
        return rate.limited(detail, _KIND, max(1, math.ceil(1.0 / rate.per_s)))

    def _left_of(self, host: str) -> float:
        left, at_s = self._left.get(host, (self._rate.burst, self._monotonic_s()))
        return self._rate.refilled(left, self._monotonic_s() - at_s)


def _digest(credential: str) -> bytes:
    return hashlib.sha256(credential.encode("utf-8", "surrogatepass")).digest()
