"""What a start of the embedded server would meet, found out without starting or changing anything."""

from dataclasses import dataclass
from pathlib import Path

from domain.errors import DatabaseRefusedError
from storage.embedded_postgres.account import choose_account
from storage.embedded_postgres.cluster import refuse_unusable_cluster
from storage.embedded_postgres.config import EmbeddedConfig
from storage.embedded_postgres.layout import Layout
from storage.embedded_postgres.private_files import refuse_foreign_folder, require_reachable
from storage.embedded_postgres.processes import is_ours, read_record, servers_on


@dataclass(frozen=True, slots=True)
class Place:
    """A data directory as a start would find it.

    account: who runs the server. server_pid: of our server that runs on the cluster, None when none does.
    """

    data_dir: Path
    account: str
    exists: bool
    has_cluster: bool
    server_pid: int | None


def inspect(config: EmbeddedConfig) -> Place:
    """The data directory. Raises DatabaseRefusedError as a start would, with what to do."""
    layout = Layout.at(config.data_dir)
    try:
        account = choose_account(layout.data_dir, layout.cluster, config.run_as)
        require_reachable(layout.data_dir, account, f"BPM_DATA_DIR {layout.data_dir}", "move BPM_DATA_DIR")
        refuse_foreign_folder(layout)
        refuse_unusable_cluster(layout)
        exists, has_cluster = layout.data_dir.is_dir(), (layout.cluster / "PG_VERSION").exists()
    except OSError as error:
        raise DatabaseRefusedError(
            f"the data directory {layout.data_dir} can't be used: {error}; check its rights, or choose another"
        ) from error
    return Place(layout.data_dir, account.name, exists, has_cluster, _server_on(layout))


def _server_on(layout: Layout) -> int | None:
    record = read_record(layout.record)
    running = servers_on(layout.cluster)
    strangers = [process.pid for process in running if record is None or not is_ours(process, record.marker)]
    if strangers:
        raise DatabaseRefusedError(
            f"another PostgreSQL server, process {min(strangers)}, which the engine did not start, runs on "
            f"{layout.cluster}; stop it, or choose another BPM_DATA_DIR",
            pid=min(strangers),
        )
    return min((process.pid for process in running), default=None)
