"""Runs a worker in the foreground."""

from api.cli.context import compile_kernels, reachable_database
from api.cli.stopping import StopAsked
from api.settings import Settings
from api.topic import bootstrap_of
from domain.errors import DatabaseRefusedError
from storage.database import INGEST_ROLE
from storage.layout import layout
from storage.migrate import require_migrated


def work(settings: Settings, stop: StopAsked) -> int:
    """Work until told to stop; returns the exit code. Raises BpmError when it can't be started.

    stop: whether that was before it began.
    """
    bootstrap_of(settings)
    access = reachable_database(settings)
    if access is None:
        raise DatabaseRefusedError("there is none: set BPM_DATABASE_URL, or start `bpm up --kafka` first")
    require_migrated(access.admin)
    compile_kernels()
    from api.worker import WorkerProcess

    process = WorkerProcess(settings, access, layout(access.as_role(INGEST_ROLE, settings)))
    return process.run(lambda: stop.by)
