"""The simulated fleet of `bpm up --demo`: a process of its own, which speaks to the engine as any client does."""

import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

log = logging.getLogger(__name__)

DEMO_TENANT: Final = "demo"
PACKS: Final = 200
DAYS: Final = 14

_STOP_S_MAX: Final = 5.0
_COMMAND: Final = (
    "simulate", "--tenant", DEMO_TENANT, "--packs", str(PACKS), "--days", str(DAYS), "--faults", "0.03",
    "--live-every", "5", "--rules", "--alarm", "--json",
)  # fmt: skip


@asynccontextmanager
async def simulated_fleet() -> AsyncIterator[None]:
    """Goes on until the end; begins when the fleet's past is in, or the fleet can't be sent."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "api.cli", *_COMMAND, stdout=asyncio.subprocess.PIPE
    )
    try:
        await _past_is_in(process)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(_STOP_S_MAX):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


async def _past_is_in(process: asyncio.subprocess.Process) -> None:
    assert process.stdout is not None  # noqa: S101 - it is piped
    line = await process.stdout.readline()
    if not line:
        log.error("the simulated fleet ended with %s", await process.wait())
        return
    told = json.loads(line)
    log.info("simulated: %s packs, %s readings of the past", told["packs"], told["readings"])
