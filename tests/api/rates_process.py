"""One process that sends as fast as its rate lets it: `rates_process CONNINFO TENANT SECONDS PER_S BURST LEASE_S`."""

import asyncio
import sys
import time

from api.rates import Rate, RateKind, RateLimiter
from domain.errors import RateLimitedError
from domain.tenancy import Actor, TenantId
from storage.security import RateStore
from storage.transactions import open_pool


async def admitted(conninfo: str, tenant: int, seconds: float, rate: Rate, lease_s: float) -> int:
    pool = open_pool(conninfo, connections_max=2, wait_s_max=10)
    actor = Actor("s", TenantId(tenant), "t", frozenset())
    count = 0
    async with pool:
        # Both wait for each other, so that they compete from the start.
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        limiter = RateLimiter(
            RateStore(pool), dict.fromkeys(RateKind, rate), lease_s, time.monotonic, lambda _: None
        )
        ends_s = time.monotonic() + seconds
        while time.monotonic() < ends_s:
            try:
                await limiter.take_request(actor)
                count += 1
            except RateLimitedError:
                await asyncio.sleep(0.002)
    return count


if __name__ == "__main__":
    _, conninfo_, tenant_, *numbers = sys.argv
    seconds_, per_s_, burst_, lease_s_ = map(float, numbers)
    print(asyncio.run(admitted(conninfo_, int(tenant_), seconds_, Rate(per_s_, burst_), lease_s_)))
