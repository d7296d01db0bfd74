"""The page in a real browser: what it shows, that it moves by itself, and that it keeps its own policy."""

import math
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from axe_playwright_python.sync_playwright import Axe

from api.auth import development_token
from api.disk import Look
from domain.policy import GRANTS, Action
from domain.tenancy import Role
from tests.api.people import person
from tests.page.conftest import Window, WindowOf
from tests.page.fleet import HOT, reading
from tests.running import RunningApi, until

pytestmark = pytest.mark.needs_chromium

VIEWS = {
    "fleet": ("#/", ".groups tbody tr"),
    "packs": ("#/packs", "tbody tr"),
    "pack": ("#/packs/NX-0?span=24h&band=all", ".plot .gtitle"),
    "alerts": ("#/alerts", ".alert"),
    "rules": ("#/rules", "tbody tr"),
    "quarantine": ("#/quarantine", "tbody tr"),
    "imports": ("#/imports", "tbody tr"),
}
MODES: dict[str, dict[str, Any]] = {
    "wide": {},
    "phone": {"viewport": {"width": 375, "height": 812}, "has_touch": True},
    "dark": {"color_scheme": "dark"},
}
FIRST_CONTENT_MS_MAX = 1000
LOADS = 5
"""Loads of which the best counts: other tests take turns with the browser."""
SERIOUS = {"serious", "critical"}


@contextmanager
def tenant_with_rule(api: RunningApi, name: str) -> Iterator[httpx.Client]:
    with api.client(api.tenant(name)) as client:
        rule = {"name": "hot", "scope": {"kind": "tenant"}, "severity": "critical", "condition": HOT}
        client.post("/v1/rules", json=rule).raise_for_status()
        yield client


def test_count_changes_by_itself_when_a_reading_comes(api: RunningApi, window: WindowOf) -> None:
    name = api.tenant("counted")
    with api.client(name) as client, window(name) as opened:
        client.post("/v1/telemetry", json=reading("P-1", state_of_charge_pct=50)).raise_for_status()
        opened.go("#/", "#packs-total")
        opened.wait_text("#packs-reporting", "1")
        opened.page.evaluate("window.stillTheSame = true")
        client.post("/v1/telemetry", json=reading("P-2", state_of_charge_pct=60)).raise_for_status()
        opened.wait_text("#packs-reporting", "2")
        assert opened.text("#packs-total") == "2"
        assert opened.page.evaluate("window.stillTheSame")


def test_alert_arrives_is_acknowledged_and_gone_in_a_second_window(api: RunningApi, window: WindowOf) -> None:
    with tenant_with_rule(api, "alerted") as client, window("alerted") as one, window("alerted") as two:
        one.go("#/alerts", ".state strong")
        two.go("#/alerts?seen=hide", ".state strong")
        client.post("/v1/telemetry", json=reading("P-1", temperature_c=60)).raise_for_status()
        for opened in (one, two):
            opened.page.get_by_role("button", name="Acknowledge hot on P-1").wait_for()
        one.page.get_by_role("button", name="Details of hot on P-1").click()
        one.page.get_by_label("Comment").fill("the fan was blocked")
        one.page.get_by_role("button", name="Add").click()
        one.page.get_by_text("commented by development-tenant_admin: the fan was blocked").wait_for()
        one.page.get_by_role("button", name="Acknowledge hot on P-1").click()
        one.page.get_by_text("acknowledged by development-tenant_admin").first.wait_for()
        two.page.locator(".alert").wait_for(state="detached")
        client.post("/v1/telemetry", json=reading("P-1", temperature_c=20)).raise_for_status()
        one.page.locator(".alert").wait_for(state="detached")
        one.wait_text(".state strong", "No open alerts")
        assert one.all_complaints() == two.all_complaints() == []


@pytest.mark.parametrize("mode", MODES)
def test_every_view_keeps_the_policy_and_can_be_used_by_all(
    mode: str, fleet: str, window: WindowOf, tmp_path: Path
) -> None:
    with window(fleet, **MODES[mode]) as opened:
        for view, (address, selector) in VIEWS.items():
            opened.go(address, selector)
            if view == "pack":
                assert_plot_is_whole(opened)
            shot = tmp_path / f"{view}-{mode}.png"
            found = Axe().run(opened.page)
            serious = [one for one in found.response["violations"] if one["impact"] in SERIOUS]
            assert serious == [], f"{view}: {found.generate_report()}"
            assert opened.all_complaints() == [], view
            width = opened.page.evaluate("document.documentElement.scrollWidth")
            assert width <= opened.page.viewport_size["width"], view
            opened.page.screenshot(path=shot)
            assert shot.stat().st_size > 10_000
            opened.complaints.clear()  # the screenshot's own style, which the policy refuses


def test_long_name_stays_within_its_card(api: RunningApi, window: WindowOf) -> None:
    tenant = api.tenant("long-names")
    reading = {
        "pack": "a-pack-whose-name-is-" + "very-" * 12 + "long",
        "temperature_c": 31,
        "cell_voltage_min_v": 3,
        "cell_voltage_max_v": 4,
    }
    with api.client(tenant) as client:
        client.post("/v1/telemetry", json=reading | {"ts": datetime.now(UTC).isoformat()}).raise_for_status()
    for size in ({"width": 1280, "height": 800}, {"width": 375, "height": 800}):
        with window(tenant, viewport=size) as opened:
            opened.go("#/", ".facts.wide a")
            wide = opened.page.locator(".card").evaluate_all(
                "all => all.filter(one => one.scrollWidth > one.clientWidth).map(one => one.innerText)"
            )
            assert wide == []


def test_unbroken_words_of_others_stay_within_a_phone(api: RunningApi, window: WindowOf) -> None:
    pack = "P" * 128
    with (
        tenant_with_rule(api, "unbroken") as client,
        window("unbroken", viewport={"width": 375, "height": 800}) as opened,
    ):
        client.post("/v1/telemetry", json=reading(pack, temperature_c=60)).raise_for_status()
        alert = until(lambda: client.get("/v1/alerts").json()["items"])[0]
        comment = {"comment": "w" * 400}
        client.post(f"/v1/alerts/{alert['id']}/comments", json=comment).raise_for_status()
        opened.go("#/alerts", ".alert")
        opened.page.get_by_role("button", name="Details of").click()
        opened.page.get_by_text("w" * 400).wait_for()
        assert opened.page.evaluate("document.documentElement.scrollWidth") == 375
        opened.go(f"?1#/packs/{pack}", ".plot .gtitle")
        assert opened.page.evaluate("document.documentElement.scrollWidth") == 375


def test_imported_past_shows_where_rules_would_have_raised(api: RunningApi, window: WindowOf) -> None:
    with tenant_with_rule(api, "past") as client, window("past") as opened:
        begun = client.post("/v1/imports", json={"source": "logger"}).raise_for_status().json()
        now = datetime.now(UTC)
        hot = [
            reading("P-1", temperature_c=62 if 20 <= step < 40 else 25)
            | {"ts": (now - timedelta(days=2, minutes=60 - step)).isoformat()}
            for step in range(60)
        ]
        client.post("/v1/telemetry", params={"import": begun["id"]}, json=hot).raise_for_status()
        opened.go("#/packs/P-1?span=7d", ".plot .shape-group path")
        assert opened.page.locator(".plot .shape-label").all_text_contents() == ["would be critical"]
        assert (
            opened.page.get_by_role("region", name="Alerts", exact=True).get_by_text("not raised").count()
            == 1
        )
        opened.page.get_by_label("what rules would have raised").click()
        opened.page.locator(".plot .shape-group path").wait_for(state="detached")
        assert opened.page.url.endswith("span=7d&measure=temperature_c&measure=state_of_charge_pct&past=no")
        # Live readings of a rule that raised are marked as what they are, once.
        client.post("/v1/telemetry", json=reading("P-1", temperature_c=61)).raise_for_status()
        until(lambda: client.get("/v1/alerts").json()["items"])
        opened.go("?1#/packs/P-1?span=7d", ".plot .shape-label")
        opened.page.wait_for_function("() => document.querySelectorAll('.plot .shape-label').length === 2")
        assert sorted(opened.page.locator(".plot .shape-label").all_text_contents()) == [
            "critical",
            "would be critical",
        ]
        opened.go("?2#/rules", "tbody tr")
        opened.page.get_by_role("button", name="Preview hot").click()
        opened.page.get_by_text("2 alerts on 1 pack, from 61 readings.").wait_for()
        opened.page.wait_for_function(
            "() => document.querySelectorAll('.plot .shape-group path').length === 2"
        )
        before = api.engine.settings
        api.engine.settings = before.model_copy(update={"preview_readings_max": 31})
        opened.page.get_by_role("button", name="Preview", exact=True).first.click()
        opened.page.get_by_text("from 31 readings: as many as a preview reads, those since").wait_for()
        api.engine.settings = before
        assert opened.all_complaints() == []


def assert_plot_is_whole(opened: Window) -> None:
    """Title, legend and the marks of alerts stand in the SVG, and in their colours."""
    page = opened.page
    # The rules are younger than the hot hour of the day before: it is marked as what they would have raised.
    page.get_by_text("would be critical").first.wait_for()
    assert page.locator(".plot .gtitle").text_content() == "NX-0, last 24 hours"
    legend = page.locator(".plot .legendtext").all_text_contents()
    assert legend[:2] == ["Temperature", "Charge"], legend
    marks = page.locator(".plot .shape-group path")
    fills = marks.evaluate_all("all => all.map(one => getComputedStyle(one).fill)")
    assert len(fills) >= 4
    assert all(re.match(r"rgb\((?!0, 0, 0\))", fill) for fill in fills), fills
    assert {"critical", "warning"} <= set(page.locator(".plot .shape-label").all_text_contents())


def test_latest_values_move_on_the_page_of_a_pack(
    fleet_client: httpx.Client, fleet: str, window: WindowOf
) -> None:
    with window(fleet) as opened:
        opened.go("#/packs/NX-7", "#latest-voltage_v")
        opened.wait_text("#latest-voltage_v dd:first-of-type", "347.00 V")
        fleet_client.post("/v1/telemetry", json=reading("NX-7", voltage_v=333.25)).raise_for_status()
        opened.wait_text("#latest-voltage_v dd:first-of-type", "333.25 V")


def test_pack_that_moves_out_of_sight_is_said_to_be_gone(api: RunningApi, window: WindowOf) -> None:
    name = api.tenant("moves")
    with api.client(name) as client:
        for site in ("Here", "There"):
            client.post("/v1/sites", json={"name": site, "zone": "UTC"}).raise_for_status()
        made = client.post("/v1/packs", json={"pack": "M-1", "site": "Here"}).raise_for_status().json()
        client.post("/v1/telemetry", json=reading("M-1", voltage_v=341.0)).raise_for_status()
        with window(name, token=api.token(name, Role.OPERATOR, sites=["Here"])) as opened:
            opened.go("#/packs/M-1", "#latest-voltage_v")
            opened.wait_text("#latest-voltage_v dd:first-of-type", "341.00 V")
            moved = {"from": datetime.now(UTC).isoformat(), "site": "There"}
            client.post(f"/v1/packs/{made['id']}/tenures", json=moved).raise_for_status()
            opened.page.get_by_text("This pack is not in your sight any more").wait_for()
            assert opened.page.locator("#latest-voltage_v").count() == 0
            assert opened.all_complaints() == []


def test_plot_of_a_pack_says_from_when_on_its_readings_are_kept(api: RunningApi, window: WindowOf) -> None:
    name, now = api.tenant("dropped"), datetime.now(UTC)
    with api.client(name) as client:
        sent = [
            reading("D-1", ts=(now - timedelta(days=days)).isoformat(), temperature_c=20 + days)
            for days in (1, 5)
        ]
        client.post("/v1/telemetry", json=sent).raise_for_status()
    before = "UPDATE bpm.retention_classes SET archived_before = %s"
    with psycopg.connect(api.access.admin, autocommit=True) as connection, window(name) as opened:
        connection.execute(before, (f"{now - timedelta(days=3):%Y-%m-%d}",))
        try:
            opened.go("#/packs/D-1?span=7d&past=no", ".plot .main-svg")
            opened.page.get_by_text("are no longer kept; the windows below go further back").wait_for()
            opened.page.get_by_role("cell", name="25.0").first.wait_for()
        finally:
            connection.execute(before, ("-infinity",))
        opened.go("#/packs/D-1?span=24h&past=no", ".plot .main-svg")
        opened.page.get_by_text("are no longer kept").wait_for(state="detached")


def test_filters_are_in_the_address_and_come_back(fleet: str, window: WindowOf) -> None:
    with window(fleet) as opened:
        opened.go("#/packs", "tbody tr")
        opened.page.get_by_label("Search").fill("nx-1")
        opened.page.get_by_label("Site").select_option("Osaka")
        opened.page.wait_for_function("() => document.querySelectorAll('tbody tr').length === 2")
        assert opened.page.url.endswith("#/packs?search=nx-1&site=Osaka")
        opened.page.reload()
        opened.page.wait_for_function("() => document.querySelectorAll('tbody tr').length === 2")
        assert opened.page.get_by_label("Search").input_value() == "nx-1"
        opened.page.get_by_role("link", name="NX-11").click()
        opened.page.get_by_role("heading", name="NX-11").wait_for()
        opened.page.go_back()
        opened.page.wait_for_function("() => document.querySelectorAll('tbody tr').length === 2")


def test_tree_of_sites_leads_to_their_packs_and_alerts(fleet: str, window: WindowOf) -> None:
    with window(fleet) as opened:
        opened.go("#/", ".groups tbody tr")
        rows = opened.page.locator(".groups tbody tr")
        assert [name.split("\t")[0] for name in rows.all_inner_texts()] == [
            "around Bern",
            "Bern",
            "around Osaka",
            "Osaka",
        ]
        rows.filter(has_text="around Bern").get_by_role("link", name="1 critical").click()
        opened.page.wait_for_selector(".alert")
        assert opened.page.url.endswith("#/alerts?severity=critical&region=around+Bern")
        assert opened.page.get_by_label("Region").input_value() == "around Bern"
        assert opened.page.locator(".alert").count() == 1
        opened.page.get_by_label("Region").select_option("around Osaka")
        opened.page.get_by_text("None that match these filters").wait_for()
        opened.go("?1#/alerts?region=nowhere", ".state strong")
        opened.page.get_by_text("None that match these filters").wait_for()
        opened.go("?2#/", ".groups tbody tr")
        opened.page.get_by_role("link", name="around Osaka").click()
        opened.page.get_by_role("link", name="NX-11").wait_for()
        assert opened.page.url.endswith("#/packs?region=around+Osaka")
        assert opened.page.locator("tbody tr").count() == 6
        assert opened.all_complaints() == []


def test_rule_is_switched_tried_and_made(fleet_client: httpx.Client, fleet: str, window: WindowOf) -> None:
    with window(fleet) as opened:
        opened.go("#/rules", "tbody tr")
        switch = opened.page.get_by_role("switch", name="warm")
        switch.click()
        opened.page.locator('[role="switch"][aria-label="warm"][aria-checked="false"]').wait_for()
        switch.click()
        opened.page.locator('[role="switch"][aria-label="warm"][aria-checked="true"]').wait_for()
        opened.page.get_by_label("Chemistry").select_option("LFP")
        opened.page.get_by_label("Template", exact=True).select_option(label="over-temperature")
        opened.page.get_by_label("Name", exact=True).fill("from a template")
        opened.page.get_by_label("Limit, °C", exact=True).fill("48")
        opened.page.get_by_label("Clear limit, °C", exact=True).fill("44")
        opened.page.get_by_label("Duration, s").fill("0")
        opened.page.get_by_role("button", name="Preview", exact=True).click()
        opened.page.locator(".plot .gtitle").wait_for()
        assert opened.page.locator(".plot .shape-group path").count() >= 1
        opened.page.get_by_role("button", name="Create rule").click()
        opened.page.get_by_role("switch", name="from a template").wait_for()
        assert opened.all_complaints() == []


@pytest.mark.parametrize("role", [Role.FLEET_MANAGER, Role.TECHNICIAN, Role.READ_ONLY])
def test_buttons_are_there_for_what_the_policy_grants(role: Role, fleet: str, window: WindowOf) -> None:
    with window(fleet, role=role) as opened:
        opened.go("#/rules", "tbody tr")
        has_switch = opened.page.get_by_role("switch").count() > 0
        assert has_switch == (Action.RULE_WRITE in GRANTS[role])
        opened.go("?1#/alerts", ".alert")
        has_button = opened.page.get_by_role("button", name="Acknowledge hot on NX-0").count() > 0
        assert has_button == (Action.ALERT_WRITE in GRANTS[role])
        assert opened.all_complaints() == []


def test_quarantine_is_tried_again_and_discarded(api: RunningApi, window: WindowOf) -> None:
    name = api.tenant("set-aside")
    with api.client(name) as client, window(name) as opened:
        client.post("/v1/telemetry", json=[reading("P-1", temperature_c=900)])
        opened.go("#/quarantine", "tbody tr")
        opened.page.get_by_role("button", name="Try a re-drive").click()
        opened.page.get_by_text("1 stay").wait_for()
        opened.page.get_by_role("button", name=re.compile("Discard out_of_range of P-1")).click()
        opened.page.get_by_role("button", name=re.compile("for good")).click()
        opened.page.get_by_text("Nothing is set aside").wait_for()
        assert client.get("/v1/quarantine").json()["items"] == []


def test_import_shows_how_far_it_has_come(api: RunningApi, window: WindowOf) -> None:
    name = api.tenant("imported")

    def send(client: httpx.Client, import_id: str, seconds: range) -> None:
        body = [
            {"pack": "P-1", "ts": f"2020-01-01T00:00:{second:02d}Z", "voltage_v": 1} for second in seconds
        ]
        client.post("/v1/telemetry", params={"import": import_id}, json=body).raise_for_status()

    with api.client(name) as client, window(name) as opened:
        client.post("/v1/imports", json={"source": "of unknown length"}).raise_for_status()
        begun = client.post("/v1/imports", json={"source": "archive", "expected": 40}).json()
        opened.go("#/imports", "tbody tr")
        assert opened.text("tbody td") == "archive"
        bar = opened.page.get_by_role("progressbar", name="Import archive")
        assert bar.get_attribute("aria-valuetext") == "nothing yet"
        send(client, begun["id"], range(30))
        opened.page.locator('[role="progressbar"][aria-valuenow="75"]').wait_for()
        assert re.match(r"75 % of 40, \d+ readings/s, ", bar.get_attribute("aria-valuetext"))
        filled, ground = (bar.locator(f".{part}").bounding_box()["width"] for part in ("reporting", "ground"))
        assert filled / ground == pytest.approx(0.75, abs=0.01)
        send(client, begun["id"], range(30, 40))
        opened.page.get_by_text("complete").wait_for()
        assert opened.page.get_by_role("progressbar").count() == 1
        client.delete(f"/v1/imports/{begun['id']}").raise_for_status()
        opened.page.get_by_text("undone").wait_for()
        assert opened.all_complaints() == []


def test_development_sign_in_comes_to_the_view_that_was_asked_for(fleet: str, window: WindowOf) -> None:
    with window(None) as opened:
        opened.go("#/packs?search=NX-5", ".sign-in form")
        assert Axe().run(opened.page).violations_count == 0
        opened.page.get_by_label("Tenant").select_option(fleet)
        assert opened.page.get_by_label("Role").input_value() == "tenant_admin"
        opened.page.get_by_label("Role").select_option("analyst")
        opened.page.get_by_role("button", name="Sign in").first.click()
        opened.page.get_by_role("link", name="NX-5").wait_for()
        assert "token" not in opened.page.url
        opened.go("#/rules", "tbody tr")
        assert opened.page.get_by_role("switch").count() == 0
        opened.page.locator(".menu summary").click()
        opened.page.get_by_role("button", name="Sign out").click()
        opened.page.wait_for_selector(".sign-in form")
        assert opened.page.evaluate("sessionStorage.getItem('bpm.token')") is None
        assert opened.all_complaints() == []


def test_invited_user_chooses_a_password_and_signs_in_and_out_with_it(
    api: RunningApi, fleet: str, fleet_client: httpx.Client, window: WindowOf
) -> None:
    new = {"login": "ann@example.com", "roles": ["analyst"]}
    invitation = fleet_client.post("/v1/users", json=new).raise_for_status().json()["invitation"]
    with window(None) as opened:
        opened.go("#/packs?search=NX-5", ".sign-in form")
        opened.page.get_by_text("I have an invitation").click()
        opened.page.get_by_label("Invitation").fill(invitation)
        opened.page.get_by_label("New password").fill("four words are better")
        opened.page.get_by_label("New password").press("Enter")
        opened.page.get_by_role("link", name="NX-5").wait_for()
        opened.page.locator(".menu summary").click()
        opened.page.get_by_text("Signed in as ann@example.com").wait_for()
        refresh_token = opened.page.evaluate("sessionStorage.getItem('bpm.refresh')")
        opened.page.get_by_role("button", name="Sign out").click()
        opened.page.get_by_text("Sign in by name and password").click()
        assert Axe().run(opened.page).violations_count == 0
        form = opened.page.locator("details[open] form")
        form.get_by_label("Tenant").fill(fleet)
        form.get_by_label("Name or e-mail").fill("Ann@Example.com")
        form.get_by_label("Password").fill("another password")
        form.get_by_role("button", name="Sign in").click()
        opened.page.get_by_text("tenant, login or password is wrong").wait_for()
        form.get_by_label("Password").fill("four words are better")
        form.get_by_role("button", name="Sign in").click()
        opened.page.get_by_role("link", name="NX-5").wait_for()
        assert opened.page.evaluate("sessionStorage.getItem('bpm.refresh')") != refresh_token
    assert (
        httpx.post(
            f"{api.url}/v1/auth/refresh", json={"refresh_token": refresh_token}, trust_env=False
        ).status_code
        == 401
    )


def test_ended_access_token_is_refreshed_and_an_ended_session_asks_again(
    api: RunningApi, fleet: str, fleet_client: httpx.Client, window: WindowOf
) -> None:
    somebody = person(api, fleet, "bob@example.com")
    with window(None, token=somebody.tokens["access_token"]) as opened:
        opened.page.add_init_script(
            f'sessionStorage.getItem("bpm.refresh") || sessionStorage.setItem("bpm.refresh", "{somebody.tokens["refresh_token"]}")'
        )
        opened.go("#/packs?search=NX-5", "tbody tr")
        path = f"/v1/users/{somebody.id}"
        headers = {"If-Match": fleet_client.get(path).headers["ETag"]}
        fleet_client.patch(path, json={"roles": ["operator"]}, headers=headers).raise_for_status()
        opened.go("#/rules", "tbody tr")
        opened.page.get_by_role("switch").first.wait_for()
        fleet_client.post(f"{path}/suspend").raise_for_status()
        opened.go("#/packs", ".sign-in form")
        opened.page.get_by_text("Your session has expired").wait_for()


def test_expired_session_says_so_and_keeps_the_address(api: RunningApi, fleet: str, window: WindowOf) -> None:
    life_s = api.engine.settings.development_token_life_s
    api.make_older(fleet, life_s)
    token = development_token(api.engine.settings, fleet, Role.ANALYST, time.time() - life_s + 2)
    with window(None, token=token) as opened:
        opened.go("#/packs?search=NX-5", "tbody tr, .sign-in")
        opened.page.get_by_text("Your session has expired").wait_for()
        opened.page.get_by_label("Tenant").select_option(fleet)
        opened.page.get_by_role("button", name="Sign in").first.click()
        opened.page.get_by_role("link", name="NX-5").wait_for()


def test_page_says_when_it_is_disconnected_and_comes_back(fleet: str, window: WindowOf) -> None:
    with window(fleet) as opened:
        opened.go("#/", "#packs-total")
        opened.page.context.set_offline(True)
        opened.page.get_by_text("Disconnected.").wait_for()
        assert opened.text("#packs-total") == "12"
        opened.page.context.set_offline(False)
        opened.page.locator("#connection").wait_for(state="hidden")


@contextmanager
def free_bytes(api: RunningApi, left: int) -> Iterator[None]:
    """So much is left on the engine's disk."""
    disk = api.engine.disk
    measure, disk._measure = disk._measure, lambda _: left
    disk.look()
    try:
        yield
    finally:
        disk._measure = measure
        disk.look()


@contextmanager
def filling(api: RunningApi, days: float) -> Iterator[None]:
    """The disk has been filling for an hour, and will be full in so many days."""
    disk = api.engine.disk
    kept = list(disk._kept)
    now_s, free = disk._monotonic_s(), disk.free_bytes
    an_hour = (free - disk.low_bytes) / (days * 24)
    disk._kept.clear()
    disk._kept.extend(Look(now_s - 3600 * hours, round(free + hours * an_hour)) for hours in (1, 0.5))
    with free_bytes(api, free):
        yield
    disk._kept.clear()
    disk._kept.extend(kept)


def test_page_says_how_long_the_disk_lasts_and_that_readings_are_refused(
    api: RunningApi, fleet: str, window: WindowOf
) -> None:
    with window(fleet) as opened, window(fleet, role=Role.ANALYST) as looker:
        opened.go("#/", "#disk")
        assert opened.text("#disk").endswith("GiB free, not filling up")
        assert not opened.page.locator("#engine").is_visible()
        with filling(api, 60.5):
            opened.go("?1#/rules", "#disk")
            assert opened.text("#disk").endswith("full in 60 days")
            assert not opened.page.locator("#engine").is_visible()
        with filling(api, 3.5):
            opened.go("?2#/rules", "#engine")
            assert opened.text("#engine").startswith("The engine's disk will be full in 3 days")
            looker.go("#/rules", "#disk.warning")
            assert not looker.page.locator("#engine").is_visible()
        with free_bytes(api, api.engine.disk.low_bytes - 1):
            for one in (opened, looker):
                one.go("?3#/rules", "#engine.error")
                assert one.text("#engine").startswith("Readings are refused: the engine's disk has")
                assert not one.page.locator("#connection").is_visible()
        opened.go("?4#/rules", "#disk")
        assert not opened.page.locator("#engine").is_visible()


def test_every_view_says_that_the_engine_is_away(fleet: str, window: WindowOf) -> None:
    with window(fleet) as opened:
        opened.go("#/rules", "tbody tr")
        opened.page.context.set_offline(True)
        opened.page.get_by_text("Disconnected.").wait_for()
        opened.page.context.set_offline(False)
        opened.page.locator("#connection").wait_for(state="hidden")


def test_views_say_when_there_is_nothing(api: RunningApi, window: WindowOf) -> None:
    said = {
        "#/": "No packs yet",
        "#/packs": "No packs yet",
        "#/alerts": "No open alerts",
        "#/rules": "No rules yet",
        "#/quarantine": "Nothing is set aside",
        "#/imports": "No imports",
    }
    with window(api.tenant("nothing")) as opened:
        for address, text in said.items():
            opened.go(address, ".state strong")
            opened.wait_text(".state strong", text)
        opened.go("#/packs/none", "h1")
        opened.page.get_by_text("There is no such pack").wait_for()


def test_choices_of_zone_and_unit_change_what_is_shown(fleet: str, window: WindowOf) -> None:
    with window(fleet) as opened:
        opened.go("#/rules", "tbody tr")
        opened.page.get_by_text("temperature above 50 °C").wait_for()
        opened.page.locator(".menu summary").click()
        opened.page.get_by_label("Temperature").select_option("f")
        opened.page.get_by_text("temperature above 122 °F").wait_for()
        opened.page.get_by_label("Time zone").select_option("Asia/Tokyo")
        opened.page.locator(".menu summary", has_text="Asia/Tokyo").wait_for()
        opened.page.reload()
        opened.page.get_by_text("temperature above 122 °F").wait_for()


def test_rule_is_made_in_the_unit_that_was_chosen(
    fleet_client: httpx.Client, fleet: str, window: WindowOf
) -> None:
    with window(fleet) as opened:
        opened.page.add_init_script('localStorage.setItem("bpm.temperature", "f")')
        opened.go("#/rules", "tbody tr")
        opened.page.get_by_label("Chemistry").select_option("LFP")
        template = opened.page.get_by_label("Template", exact=True)
        template.select_option(label="temperature rises fast")
        assert opened.page.get_by_label("Limit, °F/s").input_value() == "1.8"
        opened.page.get_by_text("Raises when temperature rising faster than 1.8 °F/s.").wait_for()
        opened.page.get_by_label("Limit, °F/s").fill("0.9")
        opened.page.get_by_text("Raises when temperature rising faster than 0.9 °F/s.").wait_for()
        opened.page.get_by_label("Name", exact=True).fill("fast in °F")
        opened.page.get_by_role("button", name="Create rule").click()
        opened.page.get_by_role("switch", name="fast in °F").wait_for()
        template.select_option(label="over-temperature")
        limit = opened.page.get_by_label("Limit, °F", exact=True)
        assert limit.input_value() == "140"
        limit.fill("113.5")
        opened.page.get_by_label("Clear limit, °F").fill("104")
        opened.page.get_by_text("Raises when temperature above 113.5 °F.").wait_for()
        opened.page.get_by_role("button", name="Preview", exact=True).click()
        opened.page.locator(".plot .gtitle").wait_for()
        assert "°F" in opened.page.locator(".plot .ytitle").text_content()
        levels = opened.page.evaluate(
            "() => document.querySelector('.plot').data.filter(one => one.name.includes('limit')).map(one => one.y[0])"
        )
        assert levels == pytest.approx([113.5, 104], abs=0.001)
        opened.page.get_by_label("Name", exact=True).fill("hot in °F")
        opened.page.get_by_role("button", name="Create rule").click()
        opened.page.get_by_role("switch", name="hot in °F").wait_for()
        opened.go("?1#/quarantine", "tbody tr")
        opened.page.get_by_text("temperature_c (limit 302 °F)").wait_for()
    made = {rule["name"]: rule["condition"] for rule in fleet_client.get("/v1/rules").json()["items"]}
    assert made["fast in °F"]["limit_per_s"] == 0.5
    assert (made["hot in °F"]["limit"], made["hot in °F"]["clear_limit"]) == (45.278, 40)


def focused(opened: Window) -> str:
    return str(opened.page.evaluate("() => document.activeElement.innerText || document.activeElement.id"))


def test_page_is_used_by_keyboard(fleet: str, window: WindowOf) -> None:
    with window(fleet) as opened:
        keyboard = opened.page.keyboard
        opened.go("#/packs", "tbody tr")
        keyboard.press("Tab")
        assert focused(opened) == "Skip to the content"
        keyboard.press("Enter")
        assert focused(opened) == opened.text("main")
        opened.page.get_by_role("link", name="Alerts").focus()
        keyboard.press("Enter")
        opened.page.wait_for_function("() => document.activeElement.tagName === 'H1'")
        assert focused(opened) == "Alerts"
        opened.page.locator(".menu summary").focus()
        keyboard.press("Enter")
        opened.page.get_by_label("Appearance").focus()
        keyboard.press("Escape")
        assert "fleet" in focused(opened)
        assert not opened.page.get_by_label("Appearance").is_visible()
        opened.go("#/packs", "tbody tr")
        opened.page.get_by_role("button", name="Voltage V").focus()
        keyboard.press("Enter")
        assert focused(opened).startswith("Voltage V")
        sorted_by = opened.page.locator("th[aria-sort]")
        assert sorted_by.get_attribute("aria-sort") == "descending"
        keyboard.press("Enter")
        assert sorted_by.get_attribute("aria-sort") == "ascending"
        assert "sort=voltage_v" in opened.page.url


def test_first_content_is_there_within_a_second(fleet: str, window: WindowOf) -> None:
    script = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
    with window(fleet) as opened:
        took_ms = []
        while len(took_ms) < LOADS and min(took_ms, default=math.inf) >= FIRST_CONTENT_MS_MAX:
            opened.go(f"?{len(took_ms)}#/", "#packs-total")
            took_ms.append(until(lambda: opened.page.evaluate(script)))
        assert min(took_ms) < FIRST_CONTENT_MS_MAX, took_ms
