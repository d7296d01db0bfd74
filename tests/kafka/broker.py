"""Apache Kafka nodes as processes of their own, on loopback: started, killed, paused and started again.

Every node is a broker and a controller at once (KRaft), on ports and in a folder that it keeps for its life.
"""

import random
import secrets
import signal
import socket
import subprocess
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.kafka.jars import ARCHIVE, JARS

READY_S_MAX = 180.0
STOP_S_MAX = 30.0
FORMAT_S_MAX = 120.0
HEAP_MB = 384
_POLL_S = 0.02
_LOG_BYTES_SHOWN = 4000

_STARTED = b"Kafka Server started"
_LOGGING = Path(__file__).with_name("log4j2.properties")

_PORTS = range(20_000, 32_000)
"""Below the ports that the system gives to outgoing connections: one of those could take a dead node's port."""

_SMALL = {
    "num.network.threads": 2,
    "num.io.threads": 2,
    "background.threads": 2,
    "log.cleaner.threads": 1,
    "num.recovery.threads.per.data.dir": 1,
    "offsets.topic.num.partitions": 4,
    "transaction.state.log.num.partitions": 4,
    "auto.create.topics.enable": "false",
}
"""Few threads and files, and no topic that nobody created."""

_QUICK = {
    "group.initial.rebalance.delay.ms": 0,
    "group.min.session.timeout.ms": 500,
    "broker.heartbeat.interval.ms": 500,
    "broker.session.timeout.ms": 3000,
    "controller.quorum.election.timeout.ms": 500,
    "controller.quorum.fetch.timeout.ms": 1000,
}
"""Faults are noticed in seconds."""


_QUICK_COMPILER = "-XX:TieredStopAtLevel=1"
"""With the archive of classes a node is ready after 4 s of processor time, instead of 10."""


class BrokerStuckError(Exception):
    """A node did not get where it should within its limit; holds the end of its log."""


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on, each another one."""
    found: set[int] = set()
    while len(found) < count:
        port = random.SystemRandom().choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.add(port)
    return sorted(found)


def java(main: str, *arguments: str, heap_mb: int, options: Sequence[str] = ()) -> list[str]:
    """The command that runs a class of the broker's jars."""
    return [
        "java",
        f"-Xms{min(heap_mb, 128)}m",
        f"-Xmx{heap_mb}m",
        "-XX:+UseSerialGC",
        *options,
        "-Djava.awt.headless=true",
        f"-Dlog4j2.configurationFile={_LOGGING}",
        "-cp",
        f"{JARS}/*",
        main,
        *arguments,
    ]


@dataclass(slots=True)
class Broker:
    """One node: its configuration in a folder, and its process while it runs.

    log_dir: where its messages lie, if not in its folder; a small disk of its own, for example.
    """

    node_id: int
    cluster_id: str
    port: int
    folder: Path
    log_dir: Path
    heap_mb: int
    java_options: Sequence[str]
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _log_from: int = field(default=0, init=False)

    @property
    def address(self) -> str:
        """HOST:PORT for clients."""
        return f"127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        """What the process says."""
        return self.folder / "server.log"

    @property
    def properties(self) -> Path:
        """The node's configuration."""
        return self.folder / "server.properties"

    @property
    def running(self) -> bool:
        """True while the process lives, paused or not."""
        return self.process is not None and self.process.poll() is None

    def format(self) -> None:
        """Prepare the storage, once. Raises BrokerStuckError."""
        if (self.log_dir / "meta.properties").exists():
            return
        tool = java(
            "kafka.tools.StorageTool",
            *("format", "--cluster-id", self.cluster_id, "--config", str(self.properties)),
            heap_mb=128,
            options=self.java_options,
        )
        done = subprocess.run(tool, capture_output=True, text=True, timeout=FORMAT_S_MAX)
        if done.returncode != 0:
            raise BrokerStuckError(f"node {self.node_id} was not formatted: {done.stdout}{done.stderr}")

    def start(self) -> None:
        """Start the process on the node's folder and ports; `wait_ready` waits for it."""
        assert not self.running, "the node runs already"
        self.format()
        self._log_from = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                java("kafka.Kafka", str(self.properties), heap_mb=self.heap_mb, options=self.java_options),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                start_new_session=True,
            )

    def wait_ready(self, limit_s: float = READY_S_MAX) -> None:
        """Return once it takes requests. Raises BrokerStuckError when it ends, or after the limit."""
        deadline_s = time.monotonic() + limit_s
        while _STARTED not in self._said():
            if not self.running:
                raise BrokerStuckError(f"node {self.node_id} ended: {self._last_words()}")
            if time.monotonic() > deadline_s:
                raise BrokerStuckError(f"node {self.node_id} after {limit_s:g} s: {self._last_words()}")
            time.sleep(_POLL_S)

    def terminate(self) -> None:
        """Ask it to stop cleanly; `wait_gone` waits for it."""
        self._signal(signal.SIGTERM)

    def stop(self) -> None:
        """Stop it cleanly; killed when that takes longer than STOP_S_MAX."""
        if self.running:
            self.terminate()
            self.wait_gone()

    def kill(self) -> None:
        """End it at once, as a loss of the machine's process would."""
        self._signal(signal.SIGKILL)
        self.wait_gone()

    def pause(self) -> None:
        """Let it stand still, with its connections open."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def restart(self) -> None:
        """Start it again on what it left, and wait until it is ready."""
        self.start()
        self.wait_ready()

    def wait_gone(self, limit_s: float = STOP_S_MAX) -> bool:
        """True when it ended by itself within the limit; otherwise it is killed."""
        if self.process is None:
            return True
        try:
            self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return False
        return True

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None, "the node was never started"
        self.process.send_signal(number)

    def _said(self) -> bytes:
        with self.log.open("rb") as log:
            log.seek(self._log_from)
            return log.read()

    def _last_words(self) -> str:
        return self._said()[-_LOG_BYTES_SHOWN:].decode(errors="replace")


class Cluster:
    """`count` nodes that know each other, in one folder; a context manager that starts and stops them.

    settings: of every node, over the defaults. log_dirs: one for each node, if not in the folder. ports: a
    client's port for each node, if not free ones. long_lived: takes longer to start and less per message; for
    measurements.
    """

    def __init__(
        self,
        folder: Path,
        count: int = 1,
        *,
        settings: Mapping[str, object] | None = None,
        log_dirs: Sequence[Path] | None = None,
        ports: Sequence[int] | None = None,
        heap_mb: int = HEAP_MB,
        long_lived: bool = False,
    ) -> None:
        options = [] if long_lived else [_QUICK_COMPILER]
        if ARCHIVE.exists():
            options.append(f"-XX:SharedArchiveFile={ARCHIVE}")
        free = free_ports(2 * count)
        client_ports = list(ports) if ports is not None else free[:count]
        controller_ports = free[count:]
        cluster_id = _cluster_id(folder)
        self.brokers = [
            Broker(
                node_id=number + 1,
                cluster_id=cluster_id,
                port=client_ports[number],
                folder=folder / f"node-{number + 1}",
                log_dir=log_dirs[number] if log_dirs is not None else folder / f"node-{number + 1}" / "data",
                heap_mb=heap_mb,
                java_options=options,
            )
            for number in range(count)
        ]
        for broker, controller_port in zip(self.brokers, controller_ports, strict=True):
            broker.folder.mkdir(parents=True, exist_ok=True)
            given = _properties(broker, controller_port, controller_ports) | dict(settings or {})
            lines = [f"{name}={value}\n" for name, value in given.items()]
            broker.properties.write_text("".join(lines), encoding="utf-8")

    @property
    def bootstrap(self) -> str:
        """The addresses of all nodes, as clients take them."""
        return ",".join(broker.address for broker in self.brokers)

    def start(self) -> None:
        """Start all nodes and wait until each is ready. Raises BrokerStuckError, with none left running."""
        try:
            for broker in self.brokers:
                broker.start()
            for broker in self.brokers:
                broker.wait_ready()
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Stop all nodes cleanly, together: the last ones alone would be without a quorum."""
        running = [broker for broker in self.brokers if broker.running]
        for broker in running:
            broker.resume()
            broker.terminate()
        for broker in running:
            broker.wait_gone()

    def kill(self) -> None:
        """End all nodes at once."""
        for broker in self.brokers:
            if broker.running:
                broker.kill()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self.stop()


def _cluster_id(folder: Path) -> str:
    """The id of the cluster in the folder, made when it is new."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "cluster-id"
    if not path.exists():
        path.write_text(
            urlsafe_b64encode(b"bpm" + secrets.token_bytes(13)).decode().rstrip("="), encoding="ascii"
        )
    return path.read_text(encoding="ascii")


def _properties(broker: Broker, controller_port: int, controller_ports: Sequence[int]) -> dict[str, object]:
    count = len(controller_ports)
    copies, copies_min = min(3, count), min(2, count)
    voters = [f"{number + 1}@127.0.0.1:{port}" for number, port in enumerate(controller_ports)]
    return {
        "process.roles": "broker,controller",
        "node.id": broker.node_id,
        "controller.quorum.voters": ",".join(voters),
        "listeners": f"PLAINTEXT://127.0.0.1:{broker.port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{broker.port}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": broker.log_dir,
        "default.replication.factor": copies,
        "min.insync.replicas": copies_min,
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": copies_min,
        **_SMALL,
        **_QUICK,
    }
