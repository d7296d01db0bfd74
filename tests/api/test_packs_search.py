"""Packs are searched, filtered and ordered by the engine, a page at a time, within a number looked at."""

from collections.abc import Iterator

import httpx
import pytest

from api.database_access import DatabaseAccess
from tests.running import RunningApi, running_api

PACKS = [
    (
        f"{'AB'[number % 2]}-{number:02d}",
        ("NX-90", "VT-60")[number % 3 == 0],
        ("Bern", "", "Chur")[number % 4 % 3],
    )
    for number in range(40)
]


@pytest.fixture(scope="module")
def api(database: DatabaseAccess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApi]:
    """An engine that looks at eleven packs for one page."""
    with running_api(database, tmp_path_factory.mktemp("data"), packs_scanned_max=11) as running:
        yield running


@pytest.fixture(scope="module")
def client(api: RunningApi) -> Iterator[httpx.Client]:
    with api.client(api.tenant("searched")) as made:
        for site in ("Bern", "Chur"):
            body = {"name": site, "zone": "UTC", "region": f"around {site}"}
            made.post("/v1/sites", json=body).raise_for_status()
        for model in ("NX-90", "VT-60"):
            body = {"name": model, "chemistry": "LFP", "rated_capacity_ah": 90}
            made.post("/v1/models", json=body).raise_for_status()
        table = "pack,model,site\n" + "".join(f"{','.join(pack)}\n" for pack in PACKS)
        headers = {"Content-Type": "text/csv"}
        made.post("/v1/packs/import", content=table, headers=headers).raise_for_status()
        yield made


def all_of(client: httpx.Client, limit: int = 3, **asked: str) -> list[str]:
    """The packs of all pages, of which each is at most `limit` long."""
    found: list[str] = []
    cursor: str | None = None
    for _ in range(100):
        page = client.get(
            "/v1/packs", params={"limit": limit, **asked} | ({"cursor": cursor} if cursor else {})
        ).json()
        assert len(page["items"]) <= limit
        found += [item["pack"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            return found
    raise AssertionError("the pages don't end")


def matches(row: tuple[str, str, str], asked: dict[str, str]) -> bool:
    pack, model, site = row
    return (
        asked.get("pack", pack) == pack
        and asked.get("search", "").lower() in pack.lower()
        and asked.get("model", model) == model
        and asked.get("site", site) == site
        and asked.get("region", f"around {site}") == f"around {site}"
    )


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"search": "b-1"},
        {"search": "-3"},
        {"search": "%"},
        {"pack": "A-04"},
        {"pack": "a-04"},
        {"pack": "A-04", "site": "Bern"},
        {"site": "Bern"},
        {"model": "VT-60", "site": "Bern"},
        {"model": "NX-90", "search": "A"},
        {"site": "nowhere"},
        {"region": "around Chur"},
        {"region": "around Bern", "search": "A-"},
        {"region": "Bern"},
    ],
)
@pytest.mark.parametrize("order", ["ascending", "descending"])
def test_pages_have_all_that_match_once_and_in_order(
    client: httpx.Client, order: str, asked: dict[str, str]
) -> None:
    expected = sorted((row[0] for row in PACKS if matches(row, asked)), reverse=order == "descending")
    assert all_of(client, order=order, **asked) == expected


def test_site_and_model_may_be_given_by_id(client: httpx.Client) -> None:
    site = client.get("/v1/sites").json()["items"][0]["id"]
    assert all_of(client, site=site) == all_of(client, site="Bern")


def test_page_is_short_and_goes_on_when_enough_was_looked_at(client: httpx.Client) -> None:
    page = client.get("/v1/packs", params={"search": "B-39", "limit": 3}).json()
    assert (page["items"], page["next_cursor"] is None, page["looked_at"]) == ([], False, 11)
    assert all_of(client, search="B-39") == ["B-39"]


@pytest.mark.parametrize("order", ["ascending", "descending"])
@pytest.mark.parametrize("asked", [{}, {"search": "B-1"}, {"site": "Chur"}, {"search": "B-39"}])
def test_pages_say_how_many_packs_were_looked_at(
    client: httpx.Client, order: str, asked: dict[str, str]
) -> None:
    given, looked_at = {"limit": 3, "order": order} | asked, 0
    while given.get("cursor", "") is not None:
        page = client.get("/v1/packs", params=given).json()
        assert len(page["items"]) <= page["looked_at"] <= 11
        looked_at += page["looked_at"]
        given["cursor"] = page["next_cursor"]
    assert looked_at == len(PACKS)


def test_credential_of_a_site_finds_its_own_packs_alone(api: RunningApi, client: httpx.Client) -> None:
    with api.client("searched", "operator", sites=["Bern"]) as limited:
        assert all_of(limited, search="-0") == [
            name for name, _, site in sorted(PACKS) if site == "Bern" and "-0" in name
        ]


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"order": "random"}, "order"),
        ({"search": ""}, "search"),
        ({"search": "x" * 201}, "search"),
        ({"sort": "pack"}, "sort"),
    ],
)
def test_what_can_not_be_asked_is_refused(client: httpx.Client, asked: dict[str, str], field: str) -> None:
    answer = client.get("/v1/packs", params=asked)
    assert (answer.status_code, answer.json()["field"]) == (422, field)


def test_new_pack_between_pages_neither_doubles_nor_hides_another(api: RunningApi) -> None:
    with api.client(api.tenant("growing")) as client:
        for pack in ("B-1", "B-3", "B-5", "B-7"):
            client.post("/v1/packs", json={"pack": pack}).raise_for_status()
        first = client.get("/v1/packs", params={"search": "B-", "limit": 2}).json()
        for pack in ("B-2", "B-6"):
            client.post("/v1/packs", json={"pack": pack}).raise_for_status()
        asked = {"search": "B-", "limit": 9, "cursor": first["next_cursor"]}
        rest = client.get("/v1/packs", params=asked).json()["items"]
    assert [item["pack"] for item in (*first["items"], *rest)] == ["B-1", "B-3", "B-5", "B-6", "B-7"]
