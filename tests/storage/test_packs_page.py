"""A page of packs is read along the index of external ids, whatever is asked for."""

from typing import Any

import psycopg
import pytest

from api.database_access import DatabaseAccess
from api.settings import Settings
from storage.database import APP_ROLE, query
from storage.packs import PackFilter, page_query
from tests.storage.test_plans import explained, nodes

PACKS = 20_000


@pytest.fixture(scope="module")
def filled(database: DatabaseAccess) -> DatabaseAccess:
    with psycopg.connect(database.admin) as connection:
        connection.execute("INSERT INTO bpm.tenants (name) VALUES ('packed'), ('beside')")
        for tenant_id in (1, 2):
            connection.execute(
                "WITH made AS (INSERT INTO bpm.packs (tenant_id, external_id)"
                " SELECT %s, 'P-' || n FROM generate_series(1, %s) AS n RETURNING tenant_id, pack_id)"
                " INSERT INTO bpm.tenures (tenant_id, pack_id, held_from) SELECT tenant_id, pack_id, '-infinity' FROM made",
                (tenant_id, PACKS),
            )
    with psycopg.connect(database.admin, autocommit=True) as connection:
        connection.execute("ANALYZE bpm.packs, bpm.tenures, bpm.sites, bpm.models")
    return database


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("search", [None, "7777"])
@pytest.mark.parametrize("after", [None, "P-5"])
@pytest.mark.parametrize("name", ["page", "page_end"])
def test_page_of_packs_follows_the_index_of_external_ids(
    filled: DatabaseAccess, name: str, after: str | None, search: str | None, descending: bool
) -> None:
    chosen = PackFilter(search=search, descending=descending)
    given: dict[str, Any] = {
        "tenant_id": 1,
        "sites": None,
        "after": after,
        "search": search,
        "site": None,
        "region": None,
        "model": None,
        "scanned": 101 if search is None else 2000,
        "limit": 101,
    }
    with psycopg.connect(filled.as_role(APP_ROLE, Settings())) as connection:
        connection.execute(query("records.set_tenant"), {"tenant": "1"})
        plan = explained(connection, page_query(name, chosen, has_after=after is not None), given)["Plan"]
    scans = [node for node in nodes(plan) if node.get("Relation Name") == "packs"]
    assert [node["Index Name"] for node in scans] == ["packs_tenant_id_external_id_key"]
    assert "Seq Scan" not in {node["Node Type"] for node in nodes(plan) if node.get("Plan Rows", 0) > 1000}
