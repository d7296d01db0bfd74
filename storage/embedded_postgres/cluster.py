"""The cluster on disk: made once, never half; and the database and login inside it."""

import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

import psutil
from psycopg import sql

from domain.errors import DatabaseRefusedError
from storage.connections import connect
from storage.embedded_postgres.account import Account
from storage.embedded_postgres.config import ADMIN_LOGIN, DATABASE, POSTGRES_MAJOR, SERVICE_LOGIN
from storage.embedded_postgres.layout import Layout
from storage.embedded_postgres.private_files import kept_password, sync_folder

_SERVICE_ATTRIBUTES = "LOGIN NOSUPERUSER NOINHERIT NOBYPASSRLS NOCREATEDB NOCREATEROLE NOREPLICATION"


def admin_secret(layout: Layout) -> Path:
    """The file with the superuser's password."""
    return layout.secrets / ADMIN_LOGIN


def service_secret(layout: Layout) -> Path:
    """The file with the service's password."""
    return layout.secrets / SERVICE_LOGIN


def refuse_unusable_cluster(layout: Layout) -> None:
    """Raises DatabaseRefusedError for what is no cluster, half restored, of another version or without its password."""
    cluster = layout.cluster
    if layout.restoring.exists():
        raise DatabaseRefusedError(
            f"a backup was being restored to {layout.data_dir} and isn't whole; run `bpm restore` into it again, "
            "or remove the directory"
        )
    if not cluster.exists() or not any(cluster.iterdir()):
        return
    version_file = cluster / "PG_VERSION"
    if not version_file.exists():
        raise DatabaseRefusedError(
            f"{cluster} is no PostgreSQL cluster (it has no PG_VERSION) and isn't empty; "
            "move it away or restore it"
        )
    version = version_file.read_text(encoding="utf-8").strip()
    if version != str(POSTGRES_MAJOR):
        raise DatabaseRefusedError(
            f"{cluster} was made by PostgreSQL {version}, this engine runs PostgreSQL {POSTGRES_MAJOR}; "
            "`bpm upgrade` doesn't exist yet, because so far only one version does. Use the version of the "
            "engine that made it, or dump it there and restore it here into a new BPM_DATA_DIR",
            found=version,
            limit=POSTGRES_MAJOR,
        )
    if not admin_secret(layout).exists():
        raise DatabaseRefusedError(
            f"the password file {admin_secret(layout)} of {cluster} is missing; restore it from the backup "
            "that the cluster came from"
        )


def ensure_cluster(
    layout: Layout, account: Account, binaries: Path, report: Callable[[str], None], *, durable: bool
) -> None:
    """Make the cluster when there is none, beside its place, and rename it when it is complete.

    durable: whether it is on disk then.
    Raises DatabaseRefusedError for one that can't be used, and when initdb fails.
    """
    refuse_unusable_cluster(layout)
    if (layout.cluster / "PG_VERSION").exists():
        return
    _remove_unfinished(layout)
    kept_password(admin_secret(layout), account)
    report(f"creating a PostgreSQL {POSTGRES_MAJOR} cluster in {layout.cluster}")
    partial = layout.data_dir / f"{layout.cluster.name}.partial-{secrets.token_hex(8)}"
    code, output = account.run(
        [
            binaries / "initdb",
            f"--pgdata={partial}",
            f"--username={ADMIN_LOGIN}",
            f"--pwfile={admin_secret(layout)}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--data-checksums",
            "--no-instructions",
            *([] if durable else ["--no-sync"]),
        ]
    )
    if code != 0:
        shutil.rmtree(partial, ignore_errors=True)
        raise DatabaseRefusedError(
            f"initdb could not make a cluster in {layout.cluster}: {output.strip()[-1000:]}"
        )
    partial.rename(layout.cluster)
    sync_folder(layout.data_dir)


def _remove_unfinished(layout: Layout) -> None:
    """Remove what a killed initdb left, and stop it should it still run."""
    for leftover in layout.data_dir.glob(f"{layout.cluster.name}.partial-*"):
        for process in psutil.process_iter():
            try:
                if str(leftover) in " ".join(process.cmdline()) or process.cwd() == str(leftover):
                    process.kill()
            except psutil.Error:
                continue
        shutil.rmtree(leftover)


def ensure_database_and_login(admin_conninfo: str, service_password: str) -> None:
    """Make the database and the service's login, or set the login right, as a superuser.

    The password leaves this process as a scram verifier only, so no log can show it.
    """
    with connect(admin_conninfo, autocommit=True) as connection:
        if not connection.execute("SELECT FROM pg_database WHERE datname = %s", (DATABASE,)).fetchall():
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
        if not connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (SERVICE_LOGIN,)).fetchall():
            connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(SERVICE_LOGIN)))
        verifier = connection.pgconn.encrypt_password(
            service_password.encode(), SERVICE_LOGIN.encode(), b"scram-sha-256"
        ).decode()
        connection.execute(
            sql.SQL("ALTER ROLE {} {} PASSWORD {}").format(
                sql.Identifier(SERVICE_LOGIN), sql.SQL(_SERVICE_ATTRIBUTES), sql.Literal(verifier)
            )
        )
