"""The schema as text. `python -m tests.schema` writes storage/schema.sql anew after a migration was added."""

import re
import subprocess
import tempfile
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

from api.cli.context import SERVICE_LOGIN
from api.database_access import DatabaseAccess, prepare_database
from storage.embedded_postgres import EmbeddedConfig, EmbeddedPostgres
from storage.embedded_postgres.binaries import packaged_installation

SCHEMA_FILE = Path(__file__).resolve().parents[1] / "storage" / "schema.sql"

_NOISE = re.compile(r"^(--.*|\\(un)?restrict .*|SET .*|SELECT pg_catalog\.set_config.*)\n", re.MULTILINE)


def dump_schema(access: DatabaseAccess) -> str:
    """The definition of everything in schema bpm, without what differs from dump to dump."""
    given = conninfo_to_dict(access.admin)
    environment = {f"PG{name.upper()}": str(given[key]) for name, key in _VARIABLES.items() if key in given}
    dumped = subprocess.run(
        [packaged_installation() / "bin" / "pg_dump", "--schema-only", "--schema=bpm"],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return re.sub(r"\n{3,}", "\n\n", _NOISE.sub("", dumped)).strip() + "\n"


_VARIABLES = {"host": "host", "port": "port", "user": "user", "password": "password", "database": "dbname"}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        server = EmbeddedPostgres(
            EmbeddedConfig(Path(folder) / "data", shared_buffers_mb=64, durable=False), print
        )
        connections = server.start()
        try:
            access = DatabaseAccess(connections.admin, connections.service)
            prepare_database(access, SERVICE_LOGIN)
            SCHEMA_FILE.write_text(dump_schema(access), encoding="utf-8")
        finally:
            server.stop()


if __name__ == "__main__":
    main()
