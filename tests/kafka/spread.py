"""One installation spread over processes: brokers, an API and workers, with a steady load, and faults among them."""

import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import psycopg

from api.database_access import DatabaseAccess
from storage.database import INGEST_ROLE, conninfo_as
from storage.embedded_postgres import Connections
from tests.faults.engine_process import ROOT, EngineProcess, EngineStuckError, until
from tests.kafka.broker import Cluster
from tests.kafka.workers import Worker
from tests.steady_load import SteadyLoad, contradictions, make_tenant, stored

PARTITIONS = 8
PACKS = 4
COMMITTED_S_MAX = 180.0

_LOG_CHARACTERS = 20_000

RULE = {
    "name": "high",
    "severity": "warning",
    "scope": {"kind": "tenant"},
    "condition": {
        "kind": "threshold",
        "measure": "voltage_v",
        "side": "above",
        "limit": 3.9,
        "clear_limit": 3.5,
    },
    "flapping": {"raises_max": 16, "window_s": 1},
}


def date_rules_back(admin: str) -> None:
    """Let the rules hold for readings that are some hours old."""
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute("UPDATE bpm.rule_versions SET effective_from = effective_from - interval '1 day'")
        connection.execute("UPDATE bpm.tenants SET rules_version = rules_version + 1")


@dataclass(slots=True)
class Spread:
    """The processes. tree: the code that API and workers run. outside: their database; without, an embedded one."""

    folder: Path
    cluster: Cluster
    engine: EngineProcess
    workers: dict[str, Worker] = field(default_factory=dict)
    done: Counter[str] = field(default_factory=Counter)
    tree: Path = ROOT
    session_s: float = 3.0
    outside: Connections | None = None

    def connections(self) -> Connections:
        """Connections to the installation's database. Raises EngineStuckError when an embedded one doesn't run."""
        return self.outside or self.engine.connections()

    def access(self) -> DatabaseAccess:
        """The installation's database, as administrator."""
        found = self.connections()
        return DatabaseAccess(found.admin, found.service)

    def worker(self, name: str) -> Worker:
        """Start a worker of this name, and wait until it has been assigned something."""
        one = Worker(
            DatabaseAccess(self.connections().admin),
            self.cluster.bootstrap,
            self.folder / name,
            self.session_s,
            self.tree,
        )
        if one.log.exists():
            one.log.unlink()
        self.workers[name] = one
        one.start()
        return one

    def start_engine(self) -> None:
        """Start the API with its database."""
        self.engine.start(
            settings={
                "BPM_KAFKA": self.cluster.bootstrap,
                "BPM_KAFKA_PARTITIONS": str(PARTITIONS),
                "BPM_RECEIPT_WAIT_S": "5",
            }
        )
        self.engine.wait_ready()

    def positions(self) -> dict[int, int]:
        """The position of each partition."""
        with psycopg.connect(self.connections().admin) as connection:
            return dict(connection.execute("SELECT partition_no, next FROM bpm.partitions").fetchall())

    def wait_progress(self, limit_s: float = COMMITTED_S_MAX) -> None:
        """Return once every partition that gets readings has moved on. Raises EngineStuckError."""
        until(lambda: any(self.positions().values()), "a first reading to be committed", limit_s)
        before = self.positions()
        busy = {number for number, position in before.items() if position}

        def moved() -> bool:
            now = self.positions()
            return all(now[number] > before[number] for number in busy)

        try:
            until(moved, "every partition to go on", limit_s)
        except EngineStuckError as error:
            raise EngineStuckError(
                f"{error}: {before}, then {self.positions()}\n{self._ends_of_logs()}"
            ) from error

    def _ends_of_logs(self) -> str:
        ends = {"api": self.engine.end_of_log()} | {
            f"worker {name}": one.log.read_text(errors="replace")[-_LOG_CHARACTERS:]
            for name, one in self.workers.items()
        }
        return "\n".join(f"--- {name}\n{end}" for name, end in ends.items())

    def stop(self) -> None:
        """Stop everything."""
        for one in self.workers.values():
            if one.running:
                one.signal(signal.SIGCONT)
                one.stop()
        self.engine.clear()


@contextmanager
def spread(
    folder: Path,
    *,
    brokers: int = 1,
    tree: Path = ROOT,
    log_dirs: Sequence[Path] | None = None,
    outside: Connections | None = None,
) -> Iterator[Spread]:
    """Brokers, an API and two workers. log_dirs: where the brokers keep their messages, if not in the folder.

    outside: an empty database for them; without, an embedded one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with Cluster(folder / "kafka", brokers, log_dirs=log_dirs) as cluster:
        engine = EngineProcess(folder, packages=tree, database_url=None if outside is None else outside.admin)
        made = Spread(folder, cluster, engine, tree=tree, outside=outside)
        try:
            made.start_engine()
            for name in ("one", "two"):
                made.worker(name)
            for one in made.workers.values():
                one.wait_ready()
            make_tenant(made.connections())
            yield made
        finally:
            made.stop()


def check(made: Spread, load: SteadyLoad, limit_s: float = COMMITTED_S_MAX) -> list[str]:
    """What contradicts the promises, once everything that was acknowledged is committed."""
    acknowledged, attempted = load.acknowledged(), load.attempted()
    connections = made.connections()
    until(
        lambda: not set(acknowledged) - set(stored(connections)),
        "everything that was acknowledged to be stored",
        limit_s,
    )
    wrong = contradictions(acknowledged, stored(connections), attempted) + load.wrong()
    return wrong + _out_of_order(connections.service)


def _out_of_order(service: str) -> list[str]:
    """Packs of which a later batch was committed before an earlier one; a batch follows the answer to the one before."""
    conninfo = conninfo_as(service, INGEST_ROLE, application="test")
    with psycopg.connect(conninfo) as connection:
        rows = connection.execute(
            "SELECT pack_id, batch_no, min(ts) FROM readings GROUP BY pack_id, batch_no ORDER BY pack_id, batch_no"
        ).fetchall()
    return [
        f"pack {pack}: batch {batch_no} was committed out of order"
        for (before, _, earlier), (pack, batch_no, moment) in pairwise(rows)
        if before == pack and moment < earlier
    ]
