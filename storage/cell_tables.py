"""What of each table goes along when a tenant moves to another cell, and how its numbers become the target's.

Numbers are an installation's own: of tenants, packs, tenures, rules and so on. Those that are handed out one by one get
new ones, in the same order, by maps in temporary tables. Batches and the alert log are shifted as a whole below all
numbers that the target has given: a copied batch is older than what its owners have applied, and a copied event is one
that was sent on before.
"""

from dataclasses import dataclass, field
from typing import Final

MAPS: Final = {
    "pack": ("packs", "pack_id", "pack_numbers"),
    "tenure": ("tenures", "tenure_no", "tenures_tenure_no_seq"),
    "rule": ("rules", "rule_no", "rules_rule_no_seq"),
    "alert": ("alerts", "alert_no", "alerts_alert_no_seq"),
    "correction": ("corrections", "correction_no", "corrections_correction_no_seq"),
    "delivery": ("deliveries", "delivery_no", "deliveries_delivery_no_seq"),
    "silence": ("silences", "silence_no", "silences_silence_no_seq"),
    "quarantined": ("quarantine", "id", "quarantine_id_seq"),
    "audited": ("audit_log", "id", "audit_log_id_seq"),
}
"""By the map's name: the table and column whose numbers it holds, and the target's sequence that gives new ones."""

_TENANT: Final = "CASE WHEN {column} IS NOT NULL THEN %(to_tenant)s END"
_HOME: Final = "(%(to_tenant)s %% %(to_partitions)s)"
_OF_PACK: Final = "coalesce({pack} %% %(to_partitions)s, " + _HOME + ")"

COMMON: Final = {
    "tenant_id": "%(to_tenant)s",
    "rule_tenant_id": _TENANT.format(column="t.rule_tenant_id"),
    "live_tenant_id": _TENANT.format(column="t.live_tenant_id"),
    "pack_id": "pack.new",
    "tenure_no": "tenure.new",
    "rule_tenure_no": "tenure.new",
    "rule_no": "rule.new",
    "alert_no": "alert.new",
    "correction_no": "correction.new",
    "delivery_no": "delivery.new",
    "silence_no": "silence.new",
    "batch_no": "t.batch_no - %(batches_down)s",
    "seq": "t.seq - log.down",
    "partition_no": _OF_PACK.format(pack="pack.new"),
}
"""What a column becomes in whichever table it stands; `t` is its table, and joins are made to the maps it names.

All other columns stay as they are.
"""

_JOINS: Final = {
    "pack": "LEFT JOIN moving_pack AS pack ON pack.old = t.pack_id",
    "tenure": "LEFT JOIN moving_tenure AS tenure ON tenure.old = t.tenure_no",
    "rule": "LEFT JOIN moving_rule AS rule ON rule.old = t.rule_no",
    "alert": "LEFT JOIN moving_alert AS alert ON alert.old = t.alert_no",
    "correction": "LEFT JOIN moving_correction AS correction ON correction.old = t.correction_no",
    "delivery": "LEFT JOIN moving_delivery AS delivery ON delivery.old = t.delivery_no",
    "silence": "LEFT JOIN moving_silence AS silence ON silence.old = t.silence_no",
    "log": "LEFT JOIN moving_log AS log ON log.partition_no = t.partition_no",
}


@dataclass(frozen=True, slots=True)
class Moved:
    """A table of which a tenant's rows go along.

    columns: what some columns become, beyond COMMON. left: columns that get their default, or another value later.
    joins: by which `columns` reach what they name. where: which rows of it, `t`, are the tenant's.
    is_there: which rows of the target are. rows: which of the tenant's rows go.
    """

    name: str
    columns: dict[str, str] = field(default_factory=dict)
    left: tuple[str, ...] = ()
    joins: str = ""
    where: str = "t.tenant_id = %(tenant)s"
    is_there: str = "t.tenant_id = %(to_tenant)s"
    rows: str = "true"

    def expression(self, column: str) -> str | None:
        """What a column becomes; None for one that stays as it is."""
        return self.columns.get(column, COMMON.get(column))

    def source(self, columns: dict[str, str]) -> str:
        """The tenant's rows as they are to be in the target: columns by name, with their types."""
        chosen = {name: self.expression(name) or f't."{name}"' for name in columns}
        said = " ".join(chosen.values())
        joins = " ".join(
            join for name, join in _JOINS.items() if f"{name}." in said and f" AS {name} " not in self.joins
        )
        shown = ", ".join(f'({text})::{columns[name]} AS "{name}"' for name, text in chosen.items())
        return f"SELECT {shown} FROM bpm.{self.name} AS t {joins} {self.joins} WHERE {self.where} AND {self.rows}"

    def target(self, columns: dict[str, str]) -> str:
        """The same rows in the target."""
        shown = ", ".join(f't."{name}"' for name in columns)
        return f"SELECT {shown} FROM bpm.{self.name} AS t WHERE {self.is_there}"


_OF_PACKS: Final = "t.pack_id IN (SELECT pack_id FROM bpm.packs WHERE tenant_id = %(tenant)s)"
_PACKS_THERE: Final = "t.pack_id IN (SELECT pack_id FROM bpm.packs WHERE tenant_id = %(to_tenant)s)"
_OF_TENANT_AND_PACKS: Final = "t.tenant_id = %(to_tenant)s AND " + _PACKS_THERE
"""By the index of packs."""

MOVED: Final = (
    Moved("sites"),
    Moved("models"),
    Moved("packs"),
    # Written here: by its transaction the owners learn where packs are.
    Moved("tenures", left=("changed_xid",)),
    # Whoever is signed in signs in again: the other cell's tokens are signed by other keys.
    Moved("users"),
    Moved("user_sites"),
    # Of tokens of an outside issuer, which are good there too and have no epoch: what ended here stays ended.
    Moved("credential_epochs", {"epoch": "0"}),
    Moved("imports"),
    Moved("key_aliases"),
    Moved("pack_groups"),
    Moved("pack_group_members"),
    Moved("roles"),
    Moved("service_accounts"),
    Moved("api_keys"),
    Moved("rules"),
    Moved("rule_versions"),
    Moved("silences"),
    Moved("corrections"),
    # What rules of quarantine growth count is in the tenant's home partition, the rest in any other.
    Moved(
        "batches",
        {
            "partition_no": f"CASE WHEN t.partition_no = %(tenant)s %% %(partitions)s THEN {_HOME}"
            " ELSE (%(to_tenant)s + 1) %% %(to_partitions)s END"
        },
    ),
    Moved("submissions"),
    Moved("readings", is_there=_OF_TENANT_AND_PACKS),
    Moved("superseded_readings", is_there=_OF_TENANT_AND_PACKS),
    Moved("corrected_packs", where=_OF_PACKS, is_there=_PACKS_THERE),
    Moved(
        "pack_state",
        joins="LEFT JOIN moving_tenure AS tenure ON tenure.old = t.rule_tenure_no",
        where=_OF_PACKS,
        is_there=_PACKS_THERE,
    ),
    # What both have counted; the rest is noted, to be counted there.
    Moved("quarters", rows="t.starts < %(counted_before)s"),
    Moved("window_notes", rows="t.starts < %(counted_before)s"),
    Moved("pack_days", rows="t.day < %(folded_before)s::date"),
    Moved("group_days", rows="t.day < %(folded_before)s::date"),
    Moved("days_to_fold"),
    Moved("groups_to_fold"),
    # Only sums of it are asked for, and it refers to no partition.
    Moved("closed_changes", {"partition_no": "t.partition_no"}),
    Moved("ingest_days", {"partition_no": "t.partition_no"}),
    Moved("request_days"),
    Moved("security_thresholds"),
    Moved(
        "quarantine",
        {"id": "quarantined.new"},
        joins="JOIN moving_quarantined AS quarantined ON quarantined.old = t.id",
    ),
    Moved(
        "rule_states",
        {"pack_id": "CASE WHEN t.pack_id < 0 THEN t.pack_id ELSE pack.new END"},
        where="t.rule_no IN (SELECT rule_no FROM bpm.rules WHERE tenant_id = %(tenant)s)",
        is_there="t.rule_no IN (SELECT rule_no FROM bpm.rules WHERE tenant_id = %(to_tenant)s)",
    ),
    Moved("alerts"),
    Moved("rule_transitions"),
    Moved(
        "alert_actions",
        joins="JOIN bpm.alerts AS acted ON acted.tenant_id = t.tenant_id AND acted.id = t.alert_id"
        " LEFT JOIN moving_pack AS pack ON pack.old = acted.pack_id",
    ),
    Moved("alert_clearances"),
    # Secrets are bound to the tenant's number: they are sealed again.
    Moved("channels"),
    Moved("deliveries"),
    Moved(
        "delivery_events",
        joins="LEFT JOIN bpm.rule_transitions AS made"
        " ON (made.tenant_id, made.partition_no, made.seq) = (t.tenant_id, t.partition_no, t.seq)"
        " LEFT JOIN bpm.alert_actions AS done"
        " ON (done.tenant_id, done.partition_no, done.seq) = (t.tenant_id, t.partition_no, t.seq)"
        " LEFT JOIN bpm.alerts AS acted ON acted.tenant_id = t.tenant_id AND acted.id = done.alert_id"
        " LEFT JOIN moving_pack AS pack ON pack.old = coalesce(made.pack_id, acted.pack_id)",
    ),
    Moved("audit_log", {"id": "audited.new"}, joins="JOIN moving_audited AS audited ON audited.old = t.id"),
)
"""In such an order that a row comes after what it refers to."""

NOT_MOVED: Final = {
    "tenants": "its row is made anew, with what it says",
    "access_grants": "they are for operators of this installation",
    "sessions": "their tokens are of this cell's issuer",
    "security_events": "they tell of requests to this installation",
    "security_counts": "they count requests to this installation",
    "rate_buckets": "of this installation; the target fills its own",
    "tickets": "they hold for half a minute, in the process that gave them",
    "correction_parts": "corrections are done before a tenant goes; then nobody asks which partition did its part",
    "partitions": "the installation's own",
    "partition_reports": "the installation's own",
    "lost_ranges": "of no tenant: all of them are copied, so that receipts say the same there",
    "source_positions": "of the topics of the installation",
    "window_marks": "the installation's own; what only one of both has counted is noted",
    "dispatch_positions": "what has happened is dispatched before a tenant goes",
    "alert_topic_positions": "what has happened is published before a tenant goes",
}
"""Tables with a tenant, pack, rule or partition that stay, each with the reason."""
