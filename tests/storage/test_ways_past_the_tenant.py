"""Ways by which SQL gets past row-level security elsewhere: each is tried as the app's role, and none leads anywhere."""

import asyncio
import contextlib
import uuid

import psycopg
import pytest

from api.database_access import DatabaseAccess, open_pools
from api.settings import Settings
from domain.tenancy import Actor, Role, TenantId
from storage.database import INGEST_ROLE
from storage.tenants import create as create_tenant
from storage.transactions import Transactions
from tests.storage.test_tenants_apart import as_administrator, as_app

REFUSED = psycopg.errors.InsufficientPrivilege


@pytest.fixture(scope="module")
def tenants(database: DatabaseAccess) -> dict[str, int]:
    """Numbers of two tenants, each with a site and a pack."""
    for name in ("alpha", "beta"):
        create_tenant(database.as_role(INGEST_ROLE, Settings()), name, register_unknown_packs=False)
    with as_administrator(database) as connection:
        found: dict[str, int] = dict(connection.execute("SELECT name, tenant_id FROM tenants").fetchall())
    for tenant_id in found.values():
        with as_app(database, tenant_id) as connection:
            connection.execute(
                "INSERT INTO sites (tenant_id, name, zone) VALUES (%s, 'S', 'UTC')", (tenant_id,)
            )
            connection.execute("INSERT INTO packs (tenant_id, external_id) VALUES (%s, 'P')", (tenant_id,))
    return found


def test_a_connection_of_the_pool_forgets_whose_request_it_served(
    database: DatabaseAccess, tenants: dict[str, int]
) -> None:
    settings = Settings(database_connections_max=2)
    actor = Actor("s", TenantId(tenants["beta"]), "beta", frozenset({Role.TENANT_ADMIN}))

    async def seen_after_requests() -> list[list[object]]:
        pool, _ = open_pools(settings, database)
        transactions = Transactions(pool)
        async with pool:
            with contextlib.suppress(ZeroDivisionError):
                async with transactions.begin(actor, "r") as transaction:
                    read = await transaction.connection.execute("SELECT tenant_id FROM packs")
                    assert [row["tenant_id"] for row in await read.fetchall()] == [tenants["beta"]]
                    raise ZeroDivisionError
            async with transactions.begin(actor, "r"):
                pass
            async with pool.connection() as one, pool.connection() as other:
                return [await (await each.execute("SELECT 1 FROM packs")).fetchall() for each in (one, other)]

    assert asyncio.run(seen_after_requests()) == [[], []]


def test_the_app_role_can_not_become_another_or_switch_security_off(
    database: DatabaseAccess, tenants: dict[str, int]
) -> None:
    with as_app(database, tenants["alpha"]) as connection:
        for statement in (
            "ALTER TABLE packs DISABLE ROW LEVEL SECURITY",
            "ALTER TABLE packs NO FORCE ROW LEVEL SECURITY",
            "DROP POLICY tenant ON packs",
            "CREATE POLICY open ON packs USING (true)",
            "ALTER ROLE bpm_app BYPASSRLS",
            "CREATE TABLE bpm.mine (id int)",
        ):
            with pytest.raises(REFUSED):
                connection.execute(statement)
        connection.execute("SET row_security = off")
        with pytest.raises(REFUSED, match="row-level security"):
            connection.execute("SELECT 1 FROM packs")


def test_copy_reads_own_rows_alone_and_writes_none(database: DatabaseAccess, tenants: dict[str, int]) -> None:
    with as_app(database, tenants["alpha"]) as connection:
        with connection.cursor().copy("COPY (SELECT tenant_id FROM packs) TO STDOUT") as copy:
            assert list(copy.rows()) == [(str(tenants["alpha"]),)]
        with (
            pytest.raises(psycopg.errors.FeatureNotSupported),
            connection.cursor().copy("COPY packs FROM STDIN"),
        ):
            pass
        for statement in ("COPY (SELECT 1) TO PROGRAM 'true'", "COPY sites FROM '/etc/passwd'"):
            with pytest.raises((REFUSED, psycopg.errors.FeatureNotSupported)):
                connection.execute(statement)


def test_a_taken_name_of_another_tenant_can_not_be_found_out(
    database: DatabaseAccess, tenants: dict[str, int]
) -> None:
    with as_administrator(database) as connection:
        site, pack_id = connection.execute(
            "SELECT sites.id, pack_id FROM sites JOIN packs USING (tenant_id) WHERE tenant_id = %s",
            (tenants["beta"],),
        ).fetchone() or ("", 0)
    with as_app(database, tenants["alpha"]) as connection:
        for named in (site, uuid.uuid4()):
            insert = "INSERT INTO sites (tenant_id, id, name, zone) VALUES (%s, %s, %s, 'UTC')"
            assert connection.execute(insert, (tenants["alpha"], named, str(named))).rowcount == 1
        held = "INSERT INTO tenures (tenant_id, pack_id, held_from, held_to) VALUES (%s, %s, '2026-01-01', '2026-01-02')"
        for number in (pack_id, 2_000_000_000):
            with pytest.raises(psycopg.errors.ForeignKeyViolation):
                connection.execute(held, (tenants["alpha"], number))


def test_on_conflict_returning_and_merge_show_nothing_of_another_tenant(
    database: DatabaseAccess, tenants: dict[str, int]
) -> None:
    with as_app(database, tenants["alpha"]) as connection:
        written = connection.execute(
            "INSERT INTO packs (tenant_id, external_id) VALUES (%s, 'P')"
            " ON CONFLICT (tenant_id, external_id) DO UPDATE SET version = packs.version RETURNING tenant_id",
            (tenants["alpha"],),
        ).fetchall()
        assert written == [(tenants["alpha"],)]
        with pytest.raises(REFUSED, match="row-level security"):
            connection.execute(
                "INSERT INTO packs (tenant_id, external_id) VALUES (%s, 'X')", (tenants["beta"],)
            )
        changed = connection.execute(
            "UPDATE sites SET name = 'mine' WHERE tenant_id = %s", (tenants["beta"],)
        )
        assert changed.rowcount == 0


def test_a_tables_statistics_and_plans_tell_no_values(
    database: DatabaseAccess, tenants: dict[str, int]
) -> None:
    with as_administrator(database) as connection:
        connection.execute("ANALYZE packs")
    with as_app(database, tenants["alpha"]) as connection:
        shown = connection.execute(
            "SELECT 1 FROM pg_stats WHERE schemaname = 'bpm' AND tablename = 'packs'"
        ).fetchall()
        assert shown == []
        with pytest.raises(REFUSED):
            connection.execute("SELECT 1 FROM pg_statistic")


def test_a_function_of_the_callers_sees_no_hidden_row(
    database: DatabaseAccess, tenants: dict[str, int]
) -> None:
    """A cheap function in WHERE would see rows before the policy does, if the planner let it."""
    with as_app(database, tenants["alpha"]) as connection:
        connection.execute(
            "CREATE FUNCTION pg_temp.peek(integer) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS"
            " $$ BEGIN RAISE NOTICE 'tenant %', $1; RETURN true; END $$"
        )
        seen: list[str] = []
        connection.add_notice_handler(lambda notice: seen.append(notice.message_primary or ""))
        connection.execute("SELECT 1 FROM packs WHERE pg_temp.peek(tenant_id)").fetchall()
    assert set(seen) == {f"tenant {tenants['alpha']}"}


def test_a_trap_in_a_callers_own_schema_is_not_looked_into(
    database: DatabaseAccess, tenants: dict[str, int]
) -> None:
    """A temporary table of the same name comes first in a caller's own queries, but in no function of ours."""
    with as_app(database, tenants["alpha"]) as connection:
        connection.execute("CREATE TEMPORARY TABLE readings (stolen text)")
        with pytest.raises(REFUSED):
            connection.execute("SELECT bpm.make_quarters_partition('2026-01-01')")
