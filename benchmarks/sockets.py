"""Alerts to many sockets, beside the same frames over bare TCP."""

import asyncio
import json
import resource
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import httpx
import numpy as np
import psutil
from websockets.asyncio.client import ClientConnection, connect

from benchmarks.measuring import Samples, ratio
from benchmarks.report import Goal, Report, compare
from benchmarks.served import ServedEngine, served_engine

TENANT = "benchmark"
ENGINE, FLOOR = "alerts over sockets", "the same bytes over bare TCP"
CONDITION = {"kind": "threshold", "measure": "temperature_c", "side": "above", "limit": 50, "clear_limit": 45}
_OPENED_AT_ONCE = 50
_FILES = 20_000
_FRAME_BYTES = 1_200
_SETTINGS = {"BPM_LIVE_CONNECTIONS_MAX": "10000", "BPM_LIVE_TENANT_CONNECTIONS_MAX": "10000"}


def measure(*, quick: bool) -> list[Report]:
    """How long it takes until all sockets have an alert."""
    sockets, alerts = (200, 20) if quick else (2000, 100)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(_FILES, hard), hard))
    with served_engine(_SETTINGS) as engine:
        return [asyncio.run(_measured(engine, sockets, alerts))]


async def _measured(engine: ServedEngine, sockets: int, alerts: int) -> Report:
    headers = {"Authorization": f"Bearer {engine.tenant_token(TENANT)}"}
    url = f"http://127.0.0.1:{engine.port}"
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as client:
        rule = {"name": "hot", "scope": {"kind": "tenant"}, "severity": "critical", "condition": CONDITION}
        (await client.post("/v1/rules", json=rule)).raise_for_status()
        before = _resident_bytes(engine)
        opened = await _open(client, url, sockets)
        held = (_resident_bytes(engine) - before) / sockets
        spread_s, commit_s, each_s = await _follow(client, opened, alerts)
        await asyncio.gather(*(socket.close() for socket in opened))
    floor_s = await _bare(sockets, alerts)
    samples = {
        ENGINE: Samples(ENGINE, [1000 * one for one in spread_s]),
        FLOOR: Samples(FLOOR, [1000 * one for one in floor_s]),
    }
    p50, p99 = np.percentile(each_s, [50, 99]) * 1000
    commit_ms = float(np.median(commit_s)) * 1000
    return Report(
        f"{alerts} alerts to {sockets:,} sockets: from the first that has it to the last",
        "ms",
        compare(samples, (FLOOR,)),
        (
            "every socket got every alert, in order; clients share the two cores with the engine",
            f"from the reading's request to a socket: p50 {p50:.0f} ms, p99 {p99:.0f} ms",
            f"the request itself took {commit_ms:.1f} ms (median)",
            f"{held / 1024:.0f} KiB of the engine's memory a socket",
        ),
        (Goal("to bare TCP", 1.5, ratio(samples[ENGINE], samples[FLOOR]), at_least=False),),
    )


def _resident_bytes(engine: ServedEngine) -> int:
    return int(psutil.Process(engine.process_id).memory_info().rss)


async def _open(client: httpx.AsyncClient, url: str, sockets: int) -> list[ClientConnection]:
    limit = asyncio.Semaphore(_OPENED_AT_ONCE)

    async def one() -> ClientConnection:
        async with limit:
            ticket = (await client.post("/v1/tickets")).json()["ticket"]
            socket = await connect(
                url.replace("http", "ws") + "/v1/alerts/live",
                proxy=None,
                ping_interval=None,
                compression=None,
            )
            await socket.send(json.dumps({"ticket": ticket}))
            assert json.loads(await socket.recv())["type"] == "snapshot"
            return socket

    return list(await asyncio.gather(*(one() for _ in range(sockets))))


async def _follow(
    client: httpx.AsyncClient, sockets: Sequence[ClientConnection], alerts: int
) -> tuple[list[float], list[float], list[float]]:
    """Seconds of each alert from the first socket that has it to the last, of its request, and of each frame."""
    spread_s, commit_s, each_s = [], [], []
    for number in range(alerts):
        pack = f"P-{number}"
        body = {"pack": pack, "ts": datetime.now(UTC).isoformat(), "temperature_c": 60}
        receiving = [asyncio.create_task(_received(socket, pack)) for socket in sockets]
        began_s = time.perf_counter()
        answer = await client.post("/v1/telemetry", json=body)
        commit_s.append(time.perf_counter() - began_s)
        answer.raise_for_status()
        at_s = np.array(await asyncio.gather(*receiving)) - began_s
        spread_s.append(float(at_s.max() - at_s.min()))
        each_s += at_s.tolist()
    return spread_s, commit_s, each_s


async def _received(socket: ClientConnection, pack: str) -> float:
    while (frame := json.loads(await socket.recv()))["type"] == "heartbeat":
        pass
    at_s = time.perf_counter()
    assert frame["data"]["alert"]["pack"] == pack, frame
    return at_s


async def _bare(sockets: int, rounds: int) -> list[float]:
    """Seconds of each round to send a frame's bytes over so many plain connections and read them all."""
    writers: list[asyncio.StreamWriter] = []
    ready = asyncio.Event()

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        if len(writers) == sockets:
            ready.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=sockets)
    port = server.sockets[0].getsockname()[1]
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(sockets)]
    await ready.wait()
    frame = b"x" * _FRAME_BYTES
    took_s = []
    for _ in range(rounds):
        reading = [asyncio.create_task(reader.readexactly(_FRAME_BYTES)) for reader, _ in opened]
        began_s = time.perf_counter()
        for writer in writers:
            writer.write(frame)
        await asyncio.gather(*reading)
        took_s.append(time.perf_counter() - began_s)
    for _, writer in opened:
        writer.close()
    for writer in writers:
        writer.close()
    server.close()
    return took_s
