"""Answers about closed days are kept, and never one that isn't right any more, whoever changes what."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import numpy as np
import pytest

from api.answer_cache import AnswerCache
from api.database_access import DatabaseAccess
from tests.running import RunningApi, running_api

WAIT_S = 60
DAY = datetime(2026, 3, 29, tzinfo=UTC)
SPAN = {"from": "2026-03-28T00:00:00Z", "to": "2026-03-31T00:00:00Z", "measure": ["voltage_v", "current_a"]}
ZONES = ("Europe/Zurich", "Pacific/Chatham", "America/Lima")
HOURS, DAYS = {"step": "PT1H"}, {"step": "P1D", "zone": "Europe/Zurich"}
QUESTIONS: list[dict[str, Any]] = [
    HOURS | {"pack": "P-1"},
    DAYS | {"pack": ["P-1", "P-2"]},
    {"step": "PT5M", "pack": "P-1"},
    DAYS | {"group": "all"},
    DAYS | {"group": "site:A"},
    DAYS | {"group": "model:M"},
    DAYS | {"group": "saved:G"},
    {"step": "P2D", "zone": "Pacific/Chatham", "group": "all"},
    {"step": "PT90M", "zone": "Europe/Zurich", "group": "site:A"},
    {"step": "PT7M", "group": "saved:G"},
]


@pytest.fixture(scope="module")
def api(database: DatabaseAccess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApi]:
    """A running API that looks often for what is to be counted."""
    with running_api(database, tmp_path_factory.mktemp("data"), count_wait_s=0.05) as running:
        yield running


@contextmanager
def nothing_kept(api: RunningApi) -> Iterator[None]:
    kept = api.engine.answers
    api.engine.answers = AnswerCache(0)
    try:
        yield
    finally:
        api.engine.answers = kept


class Tenant:
    """A tenant with two sites, two models and three packs, and random changes of all of it."""

    def __init__(self, api: RunningApi, name: str, seed: int) -> None:
        self.api, self.name = api, api.tenant(name, register_unknown_packs=False)
        self.chance = np.random.default_rng(seed)
        self.admin = api.client(self.name)
        self.limited = api.client(self.name, "analyst", sites=["A"])
        for site in ("A", "B"):
            self.post("sites", name=site, zone="Europe/Zurich")
        for model in ("M", "N"):
            self.post("models", name=model, chemistry="LFP", rated_capacity_ah=1)
        for pack, site in (("P-1", "A"), ("P-2", "A"), ("P-3", "B")):
            self.post("packs", pack=pack, site=site, model="M")
        self.post("groups", name="G", packs=["P-1", "P-3"])
        self.import_id = self.post("imports", source="s")["id"]
        for _ in range(5):
            self.send_late()

    def close(self) -> None:
        self.admin.close()
        self.limited.close()

    def post(self, subject: str, **body: Any) -> dict[str, Any]:
        found: dict[str, Any] = self.admin.post(f"/v1/{subject}", json=body).raise_for_status().json()
        return found

    def edit(self, subject: str, called: str, /, **changes: Any) -> None:
        key = "pack" if subject == "packs" else "name"
        items = self.admin.get(f"/v1/{subject}").json()["items"]
        (record,) = [one for one in items if one[key] == called]
        path = f"/v1/{subject}/{record['id']}"
        headers = {"If-Match": self.admin.get(path).headers["ETag"]}
        self.admin.patch(path, json=changes, headers=headers).raise_for_status()

    def pick(self, *of: str) -> str:
        return of[int(self.chance.integers(len(of)))]

    def pack(self) -> str:
        return self.pick("P-1", "P-2", "P-3")

    def moment(self) -> datetime:
        return DAY + timedelta(seconds=int(self.chance.integers(-72 * 3600, 72 * 3600)))

    def send_late(self) -> None:
        start, pack = self.moment(), self.pack()
        body = [
            {
                "pack": pack,
                "ts": (start + timedelta(seconds=30 * place)).isoformat(),
                "voltage_v": round(float(self.chance.uniform(300, 400)), 3),
                "current_a": round(float(self.chance.uniform(-9, 9)), 3),
            }
            for place in range(20)
        ]
        params = {"import": self.import_id}
        self.admin.post("/v1/telemetry", json=body, params=params).raise_for_status()

    def correct(self) -> None:
        start = self.moment()
        span = {"from": start.isoformat(), "to": (start + timedelta(hours=20)).isoformat()}
        self.post("corrections", kind="delete_range", pack=self.pack(), reason="r", **span)

    def move(self) -> None:
        packs = {one["pack"]: one["id"] for one in self.admin.get("/v1/packs").json()["items"]}
        start = {"from": (datetime.now(UTC) - timedelta(seconds=1)).isoformat()}
        tenures = f"/v1/packs/{packs[self.pack()]}/tenures"
        self.admin.post(tenures, json=start | {"site": self.pick("A", "B")}).raise_for_status()

    def put_right(self) -> None:
        self.edit("packs", self.pack(), site=self.pick("A", "B"), model=self.pick("M", "N"))

    def change_zone(self) -> None:
        self.edit("sites", self.pick("A", "B"), zone=self.pick(*ZONES))

    def swap_names(self) -> None:
        subject, names = (("sites", ("A", "B")), ("models", ("M", "N")))[int(self.chance.integers(2))]
        for old, new in ((names[0], "between"), (names[1], names[0]), ("between", names[1])):
            self.edit(subject, old, name=new)

    def edit_group(self) -> None:
        self.edit("groups", "G", add=[self.pack()], remove=[self.pack()])

    def count(self) -> None:
        assert self.api.engine.counter.wait_until_counted(WAIT_S), self.api.engine.counter.trouble

    def change(self) -> None:
        changes = (
            self.send_late, self.send_late, self.correct, self.move, self.put_right, self.change_zone, self.swap_names,
            self.edit_group, self.count, lambda: None,
        )  # fmt: skip
        changes[int(self.chance.integers(len(changes)))]()

    def answers(self) -> list[tuple[int, Any]]:
        found = []
        for client in (self.admin, self.limited):
            for question in QUESTIONS:
                answer = client.get("/v1/aggregates", params=SPAN | question)
                columns = [one["columns"] for one in answer.json().get("items", [])]
                found.append((answer.status_code, columns or answer.json().get("columns")))
        return found


def same(one: Any, other: Any) -> bool:
    """Sums of energy may differ in their last digits, by the order in which they were taken."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return one == pytest.approx(other, rel=1e-9, abs=1e-9)
    return bool(one == other)


@pytest.mark.parametrize("seed", range(2))
def test_kept_answer_is_what_would_be_answered_now_whatever_changed(api: RunningApi, seed: int) -> None:
    tenant = Tenant(api, f"random-{seed}", seed)
    try:
        for _ in range(15):
            tenant.change()
            told = tenant.answers()
            with nothing_kept(api):
                now = tenant.answers()
            assert same(told, now)
            assert {status for status, _ in told} <= {200, 403, 404}
    finally:
        tenant.close()


def test_answer_is_kept_until_a_reading_comes_late(api: RunningApi) -> None:
    tenant = Tenant(api, "kept", 7)
    try:
        tenant.answers()
        before = api.engine.answers.hits
        tenant.answers()
        kept = api.engine.answers.hits - before
        refused = sum(question.get("group") in ("all", "model:M") for question in QUESTIONS)
        assert kept == 2 * len(QUESTIONS) - refused, "all but what the limited credential is refused"
        elsewhere = {"pack": "P-1", "ts": "2025-01-01T00:00:00Z", "voltage_v": 300}
        tenant.admin.post("/v1/telemetry", json=elsewhere, params={"import": tenant.import_id})
        tenant.answers()
        assert api.engine.answers.hits == before + 2 * kept, "another day has changed"
        tenant.send_late()
        tenant.answers()
        assert api.engine.answers.hits <= before + 2 * kept + 1
    finally:
        tenant.close()


def test_window_of_a_group_that_goes_on_behind_the_range_is_kept_until_it_changes(api: RunningApi) -> None:
    with api.client(api.tenant("behind")) as client:
        import_id = client.post("/v1/imports", json={"source": "s"}).json()["id"]
        asked = SPAN | {"step": "P1W", "group": "all"}
        found = []
        # The only week that begins in the range is that from 30 March on.
        for day, voltage_v in ((30, 310), (35, 320)):
            moment = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(days=day - 1, hours=9)
            sent = {"pack": "P-1", "ts": moment.isoformat(), "voltage_v": voltage_v}
            client.post("/v1/telemetry", json=sent, params={"import": import_id}).raise_for_status()
            before = api.engine.answers.hits
            for _ in range(2):
                columns = client.get("/v1/aggregates", params=asked).raise_for_status().json()["columns"]
            assert api.engine.answers.hits == before + 1
            found.append((columns["packs"], columns["voltage_v_max_p50"]))
    assert found == [([1], [310.0]), ([1], [320.0])]


def test_span_that_is_not_closed_is_not_kept(api: RunningApi) -> None:
    with api.client(api.tenant("open")) as client:
        now = datetime.now(UTC)
        sent = {"pack": "P-1", "ts": (now - timedelta(seconds=5)).isoformat(), "voltage_v": 350}
        client.post("/v1/telemetry", json=sent).raise_for_status()
        asked = {
            "pack": "P-1", "measure": "voltage_v", "step": "PT1H",
            "from": (now - timedelta(hours=2)).isoformat(), "to": now.isoformat(),
        }  # fmt: skip
        before = api.engine.answers.hits
        for _ in range(2):
            client.get("/v1/aggregates", params=asked).raise_for_status()
        assert api.engine.answers.hits == before


def test_tenants_ask_the_same_and_get_their_own(api: RunningApi) -> None:
    clients = []
    for name, voltage_v in (("one", 301), ("other", 302)):
        client = api.client(api.tenant(name))
        import_id = client.post("/v1/imports", json={"source": "s"}).json()["id"]
        sent = {"pack": "P-1", "ts": DAY.isoformat(), "voltage_v": voltage_v}
        client.post("/v1/telemetry", json=sent, params={"import": import_id}).raise_for_status()
        clients.append(client)
    asked = SPAN | DAYS | {"pack": "P-1"}
    for _ in range(2):
        for client, voltage_v in zip(clients, (301, 302), strict=True):
            columns = client.get("/v1/aggregates", params=asked).json()["columns"]
            assert {value for value in columns["voltage_v_max"] if value is not None} == {voltage_v}
    for client in clients:
        client.close()


def test_acknowledged_reading_is_in_the_next_answer_while_others_ask_too(api: RunningApi) -> None:
    name, stop = api.tenant("hammered"), threading.Event()
    asked = SPAN | DAYS | {"pack": "P-1"}

    def ask(client: httpx.Client) -> int:
        columns = client.get("/v1/aggregates", params=asked).raise_for_status().json()["columns"]
        return sum(columns["voltage_v_count"])

    def keep_asking() -> None:
        with api.client(name) as reader:
            while not stop.is_set():
                ask(reader)

    with api.client(name) as client:
        import_id = client.post("/v1/imports", json={"source": "s"}).json()["id"]
        readers = [threading.Thread(target=keep_asking, daemon=True) for _ in range(2)]
        try:
            for number in range(1, 41):
                moment = (DAY + timedelta(minutes=7 * number)).isoformat()
                sent = {"pack": "P-1", "ts": moment, "voltage_v": 300}
                client.post("/v1/telemetry", json=sent, params={"import": import_id}).raise_for_status()
                assert ask(client) == number
                if number == 1:
                    for reader in readers:
                        reader.start()
        finally:
            stop.set()
            for reader in readers:
                reader.join(WAIT_S)


def test_cache_holds_no_more_than_its_bytes_and_gives_up_what_was_asked_longest_ago() -> None:
    cache = AnswerCache(20_000)
    for number in range(8):
        cache.put(number, "state", bytes(1000))
        assert cache.bytes <= 20_000
        cache.get(0, "state")
    assert cache.get(0, "state") == bytes(1000)
    assert cache.get(0, "another state") is None
    for number in range(8, 18):
        cache.put(number, "state", bytes(1000))
    assert cache.get(0, "state") is None
    assert cache.get(17, "state") is not None
    cache.put(17, "state", bytes(10_000))
    assert cache.get(17, "state") is None, "one answer would take the place of all others"
    assert cache.bytes <= 20_000


def test_cache_of_no_bytes_keeps_nothing() -> None:
    cache = AnswerCache(0)
    cache.put("question", "state", b"")
    assert (cache.get("question", "state"), cache.bytes) == (None, 0)
