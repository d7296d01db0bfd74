"""Makes the archive of the broker's classes: `python -m tests.kafka.archive`, run by `make kafka-jars`."""

import sys
import tempfile
from pathlib import Path

from tests.kafka.broker import Cluster
from tests.kafka.jars import ARCHIVE, missing

_WRITE_S_MAX = 120.0


def make_archive() -> None:
    """Run a broker once, which writes the archive as it stops."""
    ARCHIVE.unlink(missing_ok=True)
    made = ARCHIVE.with_suffix(".new")
    with tempfile.TemporaryDirectory(prefix="bpm-kafka-") as folder:
        broker = Cluster(Path(folder)).brokers[0]
        broker.java_options = [f"-XX:ArchiveClassesAtExit={made}"]
        broker.restart()
        broker.terminate()
        broker.wait_gone(_WRITE_S_MAX)
    made.replace(ARCHIVE)


if __name__ == "__main__":
    if (lacking := missing()) is not None:
        sys.exit(f"The broker needs {lacking}.")
    make_archive()
