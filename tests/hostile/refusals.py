"""What refusing costs beside allowing: `python -m tests.hostile.refusals --requests 1000`."""

import argparse
import tempfile
import time
from pathlib import Path

import httpx

from api.cli.context import SERVICE_LOGIN
from api.database_access import DatabaseAccess, prepare_database
from domain.tenancy import Role
from storage.embedded_postgres import EmbeddedConfig, EmbeddedPostgres
from tests.running import running_api


def sent(client: httpx.Client, requests: int, expected: int) -> tuple[float, float]:
    """Seconds that requests took by the wall, and of this process's time, which is the engine's and the client's."""
    wall_s, own_s = time.perf_counter(), time.process_time()
    for _ in range(requests):
        status = client.get("/v1/audit", params={"limit": 1}).status_code
        assert status == expected, status
    return time.perf_counter() - wall_s, time.process_time() - own_s


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.hostile.refusals")
    parser.add_argument("--requests", type=int, default=1000, metavar="N", help="of each kind (default 1000)")
    requests = parser.parse_args().requests
    with tempfile.TemporaryDirectory(prefix="bpm-refusals-") as made:
        folder = Path(made)
        folder.chmod(0o755)
        server = EmbeddedPostgres(EmbeddedConfig(folder / "data", shared_buffers_mb=64), lambda _: None)
        connections = server.start()
        try:
            access = DatabaseAccess(connections.admin, connections.service)
            prepare_database(access, SERVICE_LOGIN)
            with running_api(access, folder / "engine") as api:
                tenant = api.tenant("measured")
                with api.client(tenant) as admin, api.client(tenant, Role.ANALYST) as analyst:
                    bad = httpx.Client(
                        base_url=api.url, headers={"Authorization": "Bearer none"}, trust_env=False
                    )
                    with bad:
                        sent(admin, 100, 200)
                        for name, client, expected in (
                            ("allowed", admin, 200),
                            ("denied", analyst, 403),
                            ("bad credential", bad, 401),
                            ("allowed again", admin, 200),
                        ):
                            wall_s, own_s = sent(client, requests, expected)
                            print(
                                f"{name:15} {requests} requests: {wall_s:.2f} s, {own_s:.2f} s of processor"
                            )
        finally:
            server.stop()


if __name__ == "__main__":
    main()
