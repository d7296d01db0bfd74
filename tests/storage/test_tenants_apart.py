"""Tenants are kept apart by the database itself, and an engine refuses to start where they aren't."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import psycopg
import pytest

from api.cli.context import SERVICE_LOGIN
from api.database_access import DatabaseAccess, prepare_database
from api.settings import Settings
from domain.errors import DatabaseRefusedError
from storage.checks import check_database
from storage.database import APP_ROLE
from storage.embedded_postgres import Connections
from tests.running import RunningApi
from tests.timescale import ONLY_PARTITIONS

OF_TENANTS = {
    "tenants",
    "sites",
    "models",
    "packs",
    "tenures",
    "closed_changes",
    "ingest_days",
    "request_days",
    "pack_groups",
    "pack_group_members",
    "imports",
    "batches",
    "readings",
    "quarantine",
    "audit_log",
    "key_aliases",
    "window_notes",
    "corrections",
    "superseded_readings",
    "quarters",
    "pack_days",
    "days_to_fold",
    "group_days",
    "groups_to_fold",
    "rules",
    "rule_versions",
    "silences",
    "rule_transitions",
    "alerts",
    "alert_actions",
    "channels",
    "deliveries",
    "delivery_events",
    "tickets",
    "users",
    "user_sites",
    "sessions",
    "credential_epochs",
    "submissions",
    "alert_clearances",
    "roles",
    "service_accounts",
    "api_keys",
    "security_events",
    "security_counts",
    "security_thresholds",
    "rate_buckets",
    "access_grants",
}
APP_DOES_NOT_READ = {"alert_clearances", "rate_buckets", "security_counts"}
APP_DELETES_FROM = {
    "quarantine",
    "key_aliases",
    "pack_groups",
    "pack_group_members",
    "tickets",
    "user_sites",
    "sessions",
    "roles",
    "service_accounts",
}
OF_A_CLASS = re.compile(r"readings_class_\d+")
GUESSED = "00000000-0000-4000-8000-000000000000"


@contextmanager
def as_app(access: DatabaseAccess, tenant_id: int | None = None) -> Iterator[psycopg.Connection]:
    """A connection as requests have it, with a tenant set, or none."""
    with psycopg.connect(access.as_role(APP_ROLE, Settings()), autocommit=True) as connection:
        if tenant_id is not None:
            connection.execute("SELECT set_config('bpm.tenant_id', %s, false)", (str(tenant_id),))
        yield connection


@contextmanager
def as_administrator(access: DatabaseAccess) -> Iterator[psycopg.Connection]:
    with psycopg.connect(access.admin, autocommit=True, options="-c search_path=bpm") as connection:
        yield connection


@pytest.fixture(scope="module")
def tenants(api: RunningApi) -> dict[str, int]:
    """Numbers of two tenants, each with a row in every table of tenants."""
    for name in ("alpha", "beta"):
        with api.client(api.tenant(name, register_unknown_packs=False)) as client:
            client.post("/v1/sites", json={"name": "S", "zone": "UTC"}).raise_for_status()
            model = {"name": "M", "chemistry": "LFP", "rated_capacity_ah": 1}
            client.post("/v1/models", json=model).raise_for_status()
            client.post("/v1/packs", json={"pack": "P", "site": "S"}).raise_for_status()
            client.post("/v1/groups", json={"name": "G", "packs": ["P"]}).raise_for_status()
            import_id = client.post("/v1/imports", json={"source": "s"}).raise_for_status().json()["id"]
            sent = [
                {"pack": pack, "ts": "2026-01-01T00:00:00Z", "voltage_v": 300} for pack in ("P", "unknown")
            ]
            receipt = client.post("/v1/telemetry", json=sent, params={"import": import_id}).json()
            assert (receipt["accepted"], receipt["quarantined"]) == (1, 1)
            gone = {"kind": "delete_batch", "batch": receipt["id"], "reason": "r"}
            assert client.post("/v1/corrections", json=gone).json()["readings"] == 1
            again = {"kind": "correct", "pack": "P", "ts": sent[0]["ts"], "values": {"voltage_v": 301}}
            client.post("/v1/corrections", json=again | {"reason": "r"}).raise_for_status()
            aliases = {"aliases": [{"alias": "U", "key": "voltage_v"}]}
            headers = {"If-Match": client.get("/v1/key-aliases").headers["ETag"]}
            client.put("/v1/key-aliases", json=aliases, headers=headers).raise_for_status()
            hot = {
                "kind": "threshold",
                "measure": "temperature_c",
                "side": "above",
                "limit": 50,
                "clear_limit": 50,
            }
            rule = {"name": "R", "scope": {"kind": "tenant"}, "severity": "info", "condition": hot}
            client.post("/v1/rules", json=rule).raise_for_status()
            span = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}
            silence = {"kind": "mute", "reason": "r"} | span
            client.post("/v1/silences", json=silence).raise_for_status()
            channel = {"name": "C", "kind": "webhook", "url": "https://localhost/"}
            client.post("/v1/channels", json=channel).raise_for_status()
            live = {"pack": "P", "ts": datetime.now(UTC).isoformat(), "temperature_c": 60}
            client.post("/v1/telemetry", json=live).raise_for_status()
            client.post("/v1/tickets").raise_for_status()
            user = {"login": "u", "roles": ["analyst"], "sites": ["S"]}
            invited = client.post("/v1/users", json=user).raise_for_status().json()
            chosen = {"invitation": invited["invitation"], "password": "four words are better"}
            client.post("/v1/auth/invitation", json=chosen).raise_for_status()
            account = {"name": "a", "roles": ["analyst"]}
            account_id = client.post("/v1/service-accounts", json=account).raise_for_status().json()["id"]
            client.post(f"/v1/service-accounts/{account_id}/keys", json={"name": "k"}).raise_for_status()
            client.post("/v1/access-grants", json={"hours": 1, "reason": "r"}).raise_for_status()
            client.post("/v1/roles", json={"name": "r", "actions": ["pack:read"]}).raise_for_status()
            (alert,) = client.get("/v1/alerts").json()["items"]
            client.post(f"/v1/alerts/{alert['id']}/acknowledge").raise_for_status()
    assert api.engine.counter.wait_until_counted(60)
    api.engine.counter.stop()
    with as_administrator(api.access) as connection:
        until_written(connection, "delivery_events")
        until_written(connection, "request_days")
        # What waits to be counted doesn't last.
        for waiting in (
            "window_notes SELECT tenant_id, pack_id, now(), 1 FROM packs",
            "days_to_fold SELECT tenant_id, pack_id, tenure_no, '2026-01-01' FROM tenures",
            "groups_to_fold SELECT tenant_id, '2026-01-01' FROM tenants",
            "security_events (tenant_id, at, kind, times) SELECT tenant_id, now(), 'denied', 1 FROM tenants",
            "security_counts SELECT tenant_id, 'denied', now(), 1 FROM tenants",
            "security_thresholds SELECT tenant_id FROM tenants",
            "rate_buckets SELECT tenant_id, 'k', 's', 1, 1, now() FROM tenants",
            "submissions SELECT tenant_id, gen_random_uuid(), 's', NULL, now(), 0 FROM tenants",
        ):
            connection.execute(f"INSERT INTO {waiting}".encode())
        return dict(connection.execute("SELECT name, tenant_id FROM tenants").fetchall())


def until_written(connection: psycopg.Connection, table: str) -> None:
    """Wait until both tenants have a row in a table that is written now and then."""
    deadline_s = time.monotonic() + 20
    asked = f"SELECT count(DISTINCT tenant_id) FROM {table}".encode()
    while connection.execute(asked).fetchone() != (2,):
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def test_every_table_with_a_tenant_is_among_those_tested(api: RunningApi) -> None:
    with as_administrator(api.access) as connection:
        found = connection.execute(
            "SELECT relname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attname = 'tenant_id'"
            " WHERE relnamespace = 'bpm'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition"
        ).fetchall()
    assert {OF_A_CLASS.sub("readings", name) for (name,) in found} == OF_TENANTS


@pytest.mark.parametrize("table", sorted(OF_TENANTS - APP_DOES_NOT_READ))
def test_app_sees_rows_of_the_tenant_set_and_none_without(
    api: RunningApi, tenants: dict[str, int], table: str
) -> None:
    counted = f"SELECT tenant_id, count(*) FROM {table} GROUP BY tenant_id"
    with as_administrator(api.access) as connection:
        assert set(dict(connection.execute(counted).fetchall())) == set(tenants.values())
    with as_app(api.access) as connection:
        assert connection.execute(counted).fetchall() == []
    with as_app(api.access, tenants["beta"]) as connection:
        assert set(dict(connection.execute(counted).fetchall())) == {tenants["beta"]}
        connection.execute("SELECT set_config('bpm.tenant_id', '', false)")
        assert connection.execute(counted).fetchall() == []


@pytest.mark.parametrize(
    "table",
    ["sites", "models", "packs", "tenures", "imports", "audit_log", "key_aliases", "channels", "deliveries"],
)
def test_app_can_not_write_a_row_for_another_tenant(
    api: RunningApi, tenants: dict[str, int], table: str
) -> None:
    with as_administrator(api.access) as connection:
        (copied,) = connection.execute(
            f"SELECT to_json(t)::text FROM {table} t WHERE tenant_id = %s LIMIT 1", (tenants["beta"],)
        ).fetchone() or ("",)
    insert = (
        f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM json_populate_record(NULL::{table}, %s)"
    )
    with (
        as_app(api.access, tenants["alpha"]) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"),
    ):
        connection.execute(insert, (copied,))


@pytest.mark.parametrize("table", ["sites", "models", "packs", "tenures"])
def test_app_can_not_change_rows_of_another_tenant(
    api: RunningApi, tenants: dict[str, int], table: str
) -> None:
    key = "held_from" if table == "tenures" else "id"
    with as_app(api.access, tenants["alpha"]) as connection:
        touched = connection.execute(
            f"UPDATE {table} SET {key} = {key} WHERE tenant_id = %s", (tenants["beta"],)
        )
        assert touched.rowcount == 0
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            connection.execute(f"UPDATE {table} SET tenant_id = %s", (tenants["beta"],))


def test_tenure_can_not_refer_to_another_tenants_site(api: RunningApi, tenants: dict[str, int]) -> None:
    with as_administrator(api.access) as connection:
        sites = dict(connection.execute("SELECT tenant_id, id FROM sites").fetchall())
    with (
        as_app(api.access, tenants["alpha"]) as connection,
        pytest.raises(psycopg.errors.ForeignKeyViolation),
    ):
        connection.execute("UPDATE tenures SET site_id = %s", (sites[tenants["beta"]],))


@ONLY_PARTITIONS
def test_app_reads_no_partition_directly(api: RunningApi, tenants: dict[str, int]) -> None:
    with as_administrator(api.access) as connection:
        partitions = connection.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits"
            " WHERE inhparent IN ('readings_class_0'::regclass, 'quarters'::regclass)"
        ).fetchall()
    assert len(partitions) > 31
    with as_app(api.access, tenants["beta"]) as connection:
        for (name,) in partitions:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"SELECT 1 FROM {name}")


@pytest.mark.parametrize(
    "table",
    [
        "pack_state",
        "partition_reports",
        "correction_parts",
        "migrations",
        "day_marks",
        "dispatch_positions",
        "alert_topic_positions",
        "source_positions",
        "sign_in_failures",
        "operators",
        "operator_sessions",
        "platform_epochs",
        "platform_log",
        *APP_DOES_NOT_READ,
    ],
)
def test_app_reads_nothing_that_is_not_for_it(api: RunningApi, table: str) -> None:
    with as_app(api.access) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(f"SELECT 1 FROM {table}")


@pytest.mark.parametrize(
    "column",
    [
        "users.password_hash",
        "users.invitation_digest",
        "sessions.handle_digest",
        "sessions.secret_digest",
    ],
)
def test_app_reads_no_hash_of_a_secret(api: RunningApi, column: str) -> None:
    table, _, name = column.partition(".")
    with as_app(api.access) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(f"SELECT {name} FROM {table}")


def test_app_reads_of_partitions_only_which_there_are(api: RunningApi) -> None:
    with as_app(api.access) as connection:
        assert connection.execute("SELECT partition_no FROM partitions").fetchall() == [(0,)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT next FROM partitions")


@pytest.mark.parametrize("table", sorted(APP_DELETES_FROM))
def test_app_deletes_no_row_of_another_tenant(api: RunningApi, tenants: dict[str, int], table: str) -> None:
    with as_app(api.access, tenants["alpha"]) as connection:
        deleted = connection.execute(f"DELETE FROM {table} WHERE tenant_id = %s", (tenants["beta"],))
    assert deleted.rowcount == 0


@ONLY_PARTITIONS
def test_app_truncates_nothing_and_deletes_only_what_is_discarded(
    api: RunningApi, tenants: dict[str, int]
) -> None:
    with as_app(api.access, tenants["alpha"]) as connection:
        for table in sorted(OF_TENANTS - {"readings"} | {"readings_class_0"}):
            refused = [f"TRUNCATE {table}"]
            if table not in APP_DELETES_FROM:
                refused.append(f"DELETE FROM {table}")
            for statement in refused:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement)


@pytest.mark.parametrize("role", ["bpm_app", "bpm_ingest", "bpm_owner"])
@pytest.mark.parametrize(
    "statement", ["UPDATE audit_log SET subject = 'x'", "DELETE FROM audit_log", "TRUNCATE audit_log"]
)
def test_audit_rows_stay_as_they_are_even_for_their_owner(
    api: RunningApi, tenants: dict[str, int], role: str, statement: str
) -> None:
    with as_administrator(api.access) as connection:
        before = connection.execute("SELECT * FROM audit_log ORDER BY tenant_id, id").fetchall()
        assert before
        connection.execute(f"SET ROLE {role}")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement)
        connection.execute("RESET ROLE")
        assert connection.execute("SELECT * FROM audit_log ORDER BY tenant_id, id").fetchall() == before


BROKEN = {
    "row-level security is not forced: packs": (
        "ALTER TABLE packs NO FORCE ROW LEVEL SECURITY",
        "ALTER TABLE packs FORCE ROW LEVEL SECURITY",
    ),
    "row-level security is not forced: sites": (
        "ALTER TABLE sites DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE sites ENABLE ROW LEVEL SECURITY",
    ),
    "row-level security is not forced: invoices": (
        "CREATE TABLE invoices (tenant_id integer)",
        "DROP TABLE invoices",
    ),
    "TRUNCATE is granted: models": (
        "GRANT TRUNCATE ON models TO bpm_app",
        "REVOKE TRUNCATE ON models FROM bpm_app",
    ),
    "TRUNCATE is granted: readings_class_0": (
        "GRANT TRUNCATE ON readings_class_0 TO bpm_ingest",
        "REVOKE TRUNCATE ON readings_class_0 FROM bpm_ingest",
    ),
    "TRUNCATE is granted: quarantine": (
        "GRANT TRUNCATE ON quarantine TO PUBLIC",
        "REVOKE TRUNCATE ON quarantine FROM PUBLIC",
    ),
    "a partition or materialized view is granted: readings_probe": (
        (
            "CREATE TABLE readings_probe PARTITION OF readings_class_0 FOR VALUES FROM ('1999-01-01') TO ('1999-01-02');"
            " GRANT SELECT (ts) ON readings_probe TO bpm_app"
        ),
        "DROP TABLE readings_probe",
    ),
    "a partition or materialized view is granted: totals": (
        "CREATE MATERIALIZED VIEW totals AS SELECT * FROM packs; GRANT SELECT ON totals TO PUBLIC",
        "DROP MATERIALIZED VIEW totals",
    ),
    "a view without security_invoker is granted: everything": (
        "CREATE VIEW everything AS SELECT * FROM packs; GRANT SELECT ON everything TO bpm_app",
        "DROP VIEW everything",
    ),
    "a policy other than that of the tenant: packs.open": (
        "CREATE POLICY open ON packs TO bpm_app USING (true)",
        "DROP POLICY open ON packs",
    ),
    "a policy other than that of the tenant: packs.tenant": (
        "ALTER POLICY tenant ON packs USING (true)",
        (
            "ALTER POLICY tenant ON packs USING"
            " (tenant_id = (SELECT nullif(current_setting('bpm.tenant_id', true), '')::integer))"
        ),
    ),
    "the app role is privileged: bpm_app": (
        "ALTER ROLE bpm_app BYPASSRLS",
        "ALTER ROLE bpm_app NOBYPASSRLS",
    ),
    "the app role is privileged: bpm_owner": ("ALTER ROLE bpm_owner LOGIN", "ALTER ROLE bpm_owner NOLOGIN"),
    "the app role may act as another: bpm_ingest": (
        "GRANT bpm_ingest TO bpm_app",
        "REVOKE bpm_ingest FROM bpm_app",
    ),
    "a policy other than that of the tenant: sites.tenant": (
        (
            "ALTER POLICY tenant ON sites USING"
            " (tenant_id = (SELECT nullif(current_setting('bpm.tenant_id', true), '0')::integer))"
        ),
        (
            "ALTER POLICY tenant ON sites USING"
            " (tenant_id = (SELECT nullif(current_setting('bpm.tenant_id', true), '')::integer))"
        ),
    ),
    "a policy other than that of the tenant: models.tenant": (
        "ALTER POLICY tenant ON models TO PUBLIC",
        "ALTER POLICY tenant ON models TO bpm_app",
    ),
    "a table without a tenant is granted: pack_state": (
        "GRANT SELECT (latest) ON pack_state TO bpm_app",
        "REVOKE SELECT (latest) ON pack_state FROM bpm_app",
    ),
    "a relation belongs to a role that serves: owned": (
        "CREATE TABLE owned (id integer); ALTER TABLE owned OWNER TO bpm_app",
        "DROP TABLE owned",
    ),
    "TRIGGER or REFERENCES is granted: sites": (
        "GRANT TRIGGER ON sites TO bpm_app",
        "REVOKE TRIGGER ON sites FROM bpm_app",
    ),
    "TRIGGER or REFERENCES is granted: models": (
        "GRANT REFERENCES (id) ON models TO PUBLIC",
        "REVOKE REFERENCES (id) ON models FROM PUBLIC",
    ),
    "what is made later is granted: bpm": (
        "ALTER DEFAULT PRIVILEGES FOR ROLE bpm_owner IN SCHEMA bpm GRANT SELECT ON TABLES TO bpm_app",
        "ALTER DEFAULT PRIVILEGES FOR ROLE bpm_owner IN SCHEMA bpm REVOKE SELECT ON TABLES FROM bpm_app",
    ),
    "a role that serves may create in a schema: bpm_app in bpm": (
        "GRANT CREATE ON SCHEMA bpm TO bpm_app",
        "REVOKE CREATE ON SCHEMA bpm FROM bpm_app",
    ),
    "a function runs with its owner's rights on the caller's names: counted": (
        (
            "CREATE FUNCTION counted() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM bpm.packs';"
            " REVOKE ALL ON FUNCTION counted() FROM PUBLIC"
        ),
        "DROP FUNCTION counted()",
    ),
    "a function runs with its owner's rights on the caller's names: make_quarters_partition": (
        "ALTER FUNCTION make_quarters_partition(timestamptz) SET search_path = pg_temp, bpm",
        "ALTER FUNCTION make_quarters_partition(timestamptz) SET search_path = bpm, pg_temp",
    ),
    "the app may run a function with its owner's rights: make_quarters_partition": (
        "GRANT EXECUTE ON FUNCTION make_quarters_partition(timestamptz) TO PUBLIC",
        "REVOKE EXECUTE ON FUNCTION make_quarters_partition(timestamptz) FROM PUBLIC",
    ),
    "a foreign key without the tenant: packs.linked": (
        (
            "ALTER TABLE sites ADD UNIQUE (id);"
            " REVOKE INSERT, UPDATE ON sites FROM bpm_app;"
            " ALTER TABLE packs ADD linked_site uuid CONSTRAINT linked REFERENCES sites (id)"
        ),
        (
            "ALTER TABLE packs DROP linked_site; ALTER TABLE sites DROP CONSTRAINT sites_id_key;"
            " GRANT INSERT, UPDATE ON sites TO bpm_app"
        ),
    ),
    "a unique key without the tenant: serials": (
        "CREATE UNIQUE INDEX serials ON packs (external_id) WHERE external_id = 'none'",
        "DROP INDEX serials",
    ),
    "the app role is privileged: bpm_app may replicate": (
        "ALTER ROLE bpm_app REPLICATION",
        "ALTER ROLE bpm_app NOREPLICATION",
    ),
    "the ingest role is privileged: bpm_ingest": (
        "ALTER ROLE bpm_ingest CREATEROLE",
        "ALTER ROLE bpm_ingest NOCREATEROLE",
    ),
    "the ingest role may act as another: bpm_owner": (
        "GRANT bpm_owner TO bpm_ingest",
        "REVOKE bpm_owner FROM bpm_ingest",
    ),
    "audit rows can be changed: bpm_app may UPDATE": (
        "GRANT UPDATE (subject) ON audit_log TO bpm_app",
        "REVOKE UPDATE (subject) ON audit_log FROM bpm_app",
    ),
    "audit rows can be changed: bpm_ingest may DELETE": (
        "GRANT DELETE ON audit_log TO bpm_ingest",
        "REVOKE DELETE ON audit_log FROM bpm_ingest",
    ),
    "audit rows can be changed: bpm_retention may UPDATE": (
        "GRANT UPDATE (subject) ON audit_log TO bpm_retention",
        "REVOKE UPDATE (subject) ON audit_log FROM bpm_retention",
    ),
    "audit rows can be changed: bpm_eraser may UPDATE": (
        "GRANT UPDATE (subject) ON audit_log TO bpm_eraser",
        "REVOKE UPDATE (subject) ON audit_log FROM bpm_eraser",
    ),
    "the platform's log can be changed: bpm_eraser may DELETE": (
        "GRANT DELETE ON platform_log TO bpm_eraser",
        "REVOKE DELETE ON platform_log FROM bpm_eraser",
    ),
    "the platform's log can be changed: the trigger platform_log_append_only is missing or off": (
        "ALTER TABLE platform_log DISABLE TRIGGER platform_log_append_only",
        "ALTER TABLE platform_log ENABLE TRIGGER platform_log_append_only",
    ),
    "the eraser role is privileged: bpm_eraser": (
        "ALTER ROLE bpm_eraser LOGIN",
        "ALTER ROLE bpm_eraser NOLOGIN",
    ),
    "a role that serves may erase tenants: bpm_retention": (
        "GRANT bpm_eraser TO bpm_retention",
        "REVOKE bpm_eraser FROM bpm_retention",
    ),
    "audit rows can be changed: the trigger audit_log_keeps_the_last_90_days is missing or off": (
        "DROP TRIGGER audit_log_keeps_the_last_90_days ON audit_log",
        (
            "CREATE TRIGGER audit_log_keeps_the_last_90_days BEFORE DELETE ON audit_log"
            " FOR EACH ROW EXECUTE FUNCTION guard_audit_log()"
        ),
    ),
    "audit rows can be changed: the trigger audit_log_append_only is missing or off": (
        "ALTER TABLE audit_log DISABLE TRIGGER audit_log_append_only",
        "ALTER TABLE audit_log ENABLE TRIGGER audit_log_append_only",
    ),
    f"the serving login is privileged: {SERVICE_LOGIN} may erase": (
        f"GRANT bpm_eraser TO {SERVICE_LOGIN}",
        f"REVOKE bpm_eraser FROM {SERVICE_LOGIN}",
    ),
    f"the serving login is privileged: {SERVICE_LOGIN}": (
        f"ALTER ROLE {SERVICE_LOGIN} CREATEROLE",
        f"ALTER ROLE {SERVICE_LOGIN} NOCREATEROLE",
    ),
}

BREAK_MORE = {
    "the app role may act as another: bpm_ingest",
    "the ingest role may act as another: bpm_owner",
    "a relation belongs to a role that serves: owned",
    "a role that serves may erase tenants: bpm_retention",
}


@ONLY_PARTITIONS
@pytest.mark.parametrize("rule", BROKEN)
def test_start_is_refused_while_a_rule_is_broken(
    postgres: Connections, database: DatabaseAccess, rule: str
) -> None:
    breaks, mends = BROKEN[rule]
    check_database(database.admin, database.service)
    with as_administrator(database) as connection:
        connection.execute(breaks)
        try:
            with pytest.raises(DatabaseRefusedError) as refused:
                prepare_database(database, SERVICE_LOGIN)
        finally:
            connection.execute(mends)
    said, _, found = refused.value.detail.partition(": ")
    assert said == "the database doesn't keep tenants apart"
    expected = rule.removesuffix(" may replicate").removesuffix(" may erase")
    assert expected in found.split("; ")
    assert rule in BREAK_MORE or found == expected
    check_database(database.admin, database.service)
