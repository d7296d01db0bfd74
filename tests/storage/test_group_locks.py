"""What a group holds still until its commit."""

import psycopg
import pytest

from api.database_access import DatabaseAccess
from api.settings import Settings
from domain.tenancy import PARTITION_ZERO, TenantId
from storage.database import INGEST_ROLE
from storage.partition import PartitionStore
from storage.tenants import create as create_tenant


def test_tenure_or_rule_changes_wait_for_the_readings_that_were_judged_before(
    database: DatabaseAccess,
) -> None:
    conninfo = database.as_role(INGEST_ROLE, Settings())
    create_tenant(conninfo, "held", register_unknown_packs=False)
    store = PartitionStore(conninfo, PARTITION_ZERO)
    store.take_over()
    change = "UPDATE bpm.tenants SET registry_version = registry_version + 1"
    try:
        with psycopg.connect(database.admin, autocommit=True) as other:
            row = other.execute("SELECT tenant_id FROM bpm.tenants").fetchone()
            assert row is not None
            other.execute("SET lock_timeout = '200ms'")
            with store.group() as group:
                group.tenant_versions([TenantId(row[0])])
                with pytest.raises(psycopg.errors.LockNotAvailable):
                    other.execute(change)
            other.execute(change)
    finally:
        store.close()
