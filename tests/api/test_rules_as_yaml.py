"""Rules as a file: what is exported is imported again as the same, all or none; and YAML has one meaning."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from api.yaml_text import DEPTH_MAX, NODES_MAX, read_yaml, write_yaml
from domain.errors import BodyTooLargeError, BodyUnreadableError
from tests.running import RunningApi

HOT = {"kind": "threshold", "measure": "temperature_c", "side": "above", "limit": 50, "clear_limit": 45.5}
CONDITIONS: list[dict[str, Any]] = [
    HOT | {"duration_s": 60, "during": {"measure": "current_a", "side": "above", "limit": 0.125}},
    {
        "kind": "rate_of_change",
        "measure": "voltage_v",
        "trend": "falling",
        "limit_per_s": 1e-05,
        "max_gap_s": 60,
    },
    {"kind": "cell_imbalance", "limit_v": 0.3, "clear_limit_v": 0.2},
    {"kind": "missing_data", "after_s": 600},
    {"kind": "clock_skew", "future_s": 60},
    {"kind": "quarantine_growth", "items_max": 5, "window_s": 60, "source": "no"},
]
SCOPES = [
    {"kind": "tenant"},
    {"kind": "site", "site": "12:30"},
    {"kind": "model", "model": "1e3"},
    {"kind": "pack", "pack": "0010"},
]
NAMES = ["no", "2026-01-01", "# not a comment", "a: b", "'", '"', "~", "é\u200d☃", "- x", "1_000"]


def rules() -> list[dict[str, Any]]:
    made = []
    for place, name in enumerate(NAMES):
        condition = CONDITIONS[place % len(CONDITIONS)]
        scope = SCOPES[0] if condition["kind"] == "quarantine_growth" else SCOPES[place % len(SCOPES)]
        made.append(
            {
                "name": name, "scope": scope, "severity": ("info", "critical")[place % 2], "condition": condition,
                "enabled": place % 3 > 0, "flapping": {"raises_max": 3 + place, "window_s": 600},
            }
        )  # fmt: skip
    return made


def prepare(client: httpx.Client) -> httpx.Client:
    client.post("/v1/sites", json={"name": "12:30", "zone": "UTC"}).raise_for_status()
    model = {"name": "1e3", "chemistry": "LFP", "rated_capacity_ah": 1}
    client.post("/v1/models", json=model).raise_for_status()
    client.post("/v1/packs", json={"pack": "0010", "site": "12:30"}).raise_for_status()
    return client


@pytest.fixture(scope="module")
def client(api: RunningApi) -> Iterator[httpx.Client]:
    with api.client(api.tenant("exporting")) as client:
        prepare(client)
        for rule in rules():
            made = client.post("/v1/rules", json=rule)
            assert made.status_code == 201, made.text
        yield client


def export(client: httpx.Client) -> httpx.Response:
    answer = client.get("/v1/rules/export")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/yaml")
    return answer


def send(client: httpx.Client, body: bytes | dict[str, Any], **params: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else write_yaml(body)
    headers = {"Content-Type": "application/yaml"}
    return client.post("/v1/rules/import", content=content, params=params, headers=headers)


def told(answer: httpx.Response) -> tuple[int, int, int]:
    assert answer.status_code == 200, answer.text
    found = answer.json()
    return found["created"], found["changed"], found["unchanged"]


def shown(client: httpx.Client) -> list[dict[str, Any]]:
    own = ("id", "created_at", "effective_from", "version", "number")
    items = client.get("/v1/rules", params={"limit": 1000}).json()["items"]
    return [{name: value for name, value in item.items() if name not in own} for item in items]


def test_what_is_exported_is_imported_elsewhere_as_the_same(api: RunningApi, client: httpx.Client) -> None:
    exported = export(client)
    with api.client(api.tenant("importing")) as other:
        prepare(other)
        assert told(send(other, exported.content, dry_run="true")) == (len(NAMES), 0, 0)
        assert shown(other) == []
        assert told(send(other, exported.content)) == (len(NAMES), 0, 0)
        assert shown(other) == shown(client)
        assert export(other).content == exported.content
        assert told(send(other, exported.content)) == (0, 0, len(NAMES))


def test_import_of_ones_own_export_changes_nothing(client: httpx.Client) -> None:
    before = client.get("/v1/rules", params={"limit": 1000}).json()
    assert told(send(client, export(client).content)) == (0, 0, len(NAMES))
    assert client.get("/v1/rules", params={"limit": 1000}).json() == before


def test_rule_that_says_otherwise_gets_its_next_version_and_others_stay(api: RunningApi) -> None:
    with api.client(api.tenant("versions")) as client:
        for name in ("first", "second"):
            rule = {"name": name, "scope": SCOPES[0], "severity": "info", "condition": HOT}
            client.post("/v1/rules", json=rule).raise_for_status()
        content = yaml.safe_load(export(client).content)
        del content["rules"][1]
        content["rules"][0]["condition"]["limit"] = 51
        content["rules"].append(content["rules"][0] | {"name": "third"})
        assert told(send(client, content, dry_run="true")) == (1, 1, 0)
        assert told(send(client, content)) == (1, 1, 0)
        found = {rule["name"]: rule for rule in client.get("/v1/rules").json()["items"]}
        assert {name: (rule["number"], rule["condition"]["limit"]) for name, rule in found.items()} == {
            "first": (2, 51),
            "second": (1, 50),
            "third": (1, 51),
        }
        assert told(send(client, content)) == (0, 0, 2)


GOOD = {"name": "good", "scope": SCOPES[0], "severity": "info", "condition": HOT}
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, "name"),
    ({"severity": "loud"}, "severity"),
    ({"scope": {"kind": "site", "site": "no-such-site"}}, "scope.site"),
    ({"scope": {"kind": "model", "model": "no-such-model"}}, "scope.model"),
    ({"scope": {"kind": "pack", "pack": "no-such-pack"}}, "scope.pack"),
    ({"condition": HOT | {"limit": "50"}}, "condition.threshold.limit"),
    ({"condition": HOT | {"measure": "mood"}}, "condition.measure"),
    ({"flapping": {"raises_max": 0, "window_s": 1}}, "flapping.raises_max"),
    ({"extra": 1}, "extra"),
    ({"name": "kept", "condition": CONDITIONS[3]}, "condition.kind"),
    ({"name": "kept too", "scope": SCOPES[1]}, "scope"),
    ({}, "name"),
]


def test_every_problem_is_named_and_then_nothing_is_done(api: RunningApi) -> None:
    with api.client(api.tenant("problems")) as client:
        prepare(client)
        for name in ("kept", "kept too"):
            client.post("/v1/rules", json=GOOD | {"name": name}).raise_for_status()
        before = shown(client)
        content = {"rules": [GOOD, *({**GOOD, "name": f"wrong-{place}"} | wrong for place, (wrong, _) in enumerate(WRONG[:-1])), GOOD]}  # fmt: skip
        for dry_run in ("true", "false"):
            answer = send(client, content, dry_run=dry_run)
            assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
            problems = answer.json()["problems"]
            assert [(one["place"], one["field"]) for one in problems] == [
                (place + 1, field) for place, (_, field) in enumerate(WRONG)
            ]
            assert (answer.json()["rules"], answer.json()["created"]) == (len(WRONG) + 1, 0)
        assert shown(client) == before


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"rules", 422),
        (b"[]", 422),
        (b"rules: {}", 422),
        (b"rules: []\nmore: 1", 422),
        (b"rules: []\nrules: []", 400),
        (b"rules: [", 400),
        (b"\xff", 400),
        (b"rules: [&a {}, *a]", 400),
        (b"rules: [!!python/object:os.system {}]", 400),
        (b"rules: " + b"[" * 5000, 400),
        (b"rules: [" + b"1," * NODES_MAX + b"]", 413),
        (b"rules: []" + b" " * (1 << 20), 413),
        (b"a: &a [x, x]\nb: &b [*a, *a]\nrules: [*b]", 400),
        (b"rules: []\n---\nrules: []", 400),
        (b"? [a]\n: 1", 400),
        (b"rules: [" + b"9" * 5000 + b"]", 400),
    ],
    ids=lambda given: str(given)[:30],
)
def test_body_that_is_no_list_of_rules_is_refused(client: httpx.Client, body: bytes, status: int) -> None:
    answer = send(client, body)
    assert answer.status_code == status, answer.text


def test_empty_list_of_rules_is_a_right_body(client: httpx.Client) -> None:
    assert told(send(client, b"rules: []")) == (0, 0, 0)


def test_other_type_of_body_is_refused(client: httpx.Client) -> None:
    refused = client.post("/v1/rules/import", json={"rules": []})
    assert (refused.status_code, refused.json()["field"]) == (415, "Content-Type")


def test_more_rules_than_a_tenant_may_have_are_refused(client: httpx.Client) -> None:
    many = [GOOD | {"name": f"many-{number}"} for number in range(1000)]
    refused = send(client, {"rules": many}, dry_run="true")
    assert (refused.status_code, refused.json()["limit"]) == (409, 1000)


VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=8),
        st.sampled_from(["no", "yes", "on", "0x10", "010", "1e3", "12:30", "2026-01-01", "=", "<<", "~", "", "null", ".5", "1_0"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=5), inner, max_size=3),
    ),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(value=VALUES)
def test_what_is_written_is_read_as_the_same(value: Any) -> None:
    assert read_yaml(write_yaml(value)) == value


PLAIN = {
    "no": "no", "true": True, "True": "True", "12:30": "12:30", "2026-01-01": "2026-01-01", "010": 10.0, "0x10": "0x10",
    "1e3": 1000.0, "-5": -5, "1_0": "1_0", "null": None, ".inf": ".inf", "<<": "<<",
}  # fmt: skip


@pytest.mark.parametrize("text", PLAIN)
def test_plain_text_has_one_meaning(text: str) -> None:
    found = read_yaml(text.encode())
    assert (found, type(found)) == (PLAIN[text], type(PLAIN[text]))


def test_depth_and_number_of_values_are_limited() -> None:
    assert read_yaml(b"[" * DEPTH_MAX + b"]" * DEPTH_MAX) is not None
    with pytest.raises(BodyUnreadableError, match="deeper"):
        read_yaml(b"[" * (DEPTH_MAX + 1) + b"]" * (DEPTH_MAX + 1))
    with pytest.raises(BodyTooLargeError):
        read_yaml(b"- 1\n" * NODES_MAX)
