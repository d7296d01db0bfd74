"""`bpm simulate` against a running engine, and into files."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from api.cli.main import app
from tests.running import RunningApi, until


def bpm_simulate(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, ["simulate", *arguments])


def told(answer: Result) -> Iterator[dict[str, Any]]:
    assert answer.exit_code == 0, answer.output
    return map(json.loads, answer.stdout.splitlines())


def test_fleet_has_a_past_and_goes_on_live_and_one_of_its_packs_overheats(api: RunningApi) -> None:
    tenant = api.tenant("fleet", register_unknown_packs=False)
    engine = ("--url", api.url, "--token", api.token(tenant), "--packs", "6", "--json")
    history, _ = told(bpm_simulate(*engine, "--days", "0.25", "--every", "60", "--rules", "--no-live"))
    assert (history["new_packs"], history["readings"]) == (6, 6 * 360)
    second = bpm_simulate(*engine, "--days", "0.25", "--live-s", "0.3", "--live-every", "0.1", "--alarm")
    assert "their past isn't sent again" in second.stderr
    again, end = told(second)
    assert (again["new_packs"], again["readings"]) == (0, 0)
    assert end["live_readings"] == 18
    with api.client(tenant) as client:
        (imported,) = client.get("/v1/imports").json()["items"]
        assert imported["accepted"] == imported["expected"] == 6 * 360
        packs = client.get("/v1/packs").json()["items"]
        assert {pack["model"] for pack in packs} == {"bus-LFP", "scooter-NMC", "storage-LTO"}
        assert {rule["name"] for rule in client.get("/v1/rules").json()["items"]} >= {"pack is hot"}
        fleet = until(lambda: client.get("/v1/aggregates/live").json()["items"])
        assert fleet[0]["packs"]["reporting"] == 6


@pytest.mark.parametrize("name", ["fleet.csv", "fleet.arrow", "drive.asc"])
def test_files_are_named_in_the_closing_line(tmp_path: Path, name: str) -> None:
    asked = ("--output", str(tmp_path / name), "--packs", "2", "--days", "0.01", "--every", "6", "--json")
    (end,) = told(bpm_simulate(*asked))
    assert end["readings"] == (144 if name == "drive.asc" else 288)
    assert all(Path(file).stat().st_size > 0 for file in end["files"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--tenant"),
        (["--output", "drive.blf", "--pack", "nobody"], "bus-0000"),
        (["--output", "fleet.csv", "--start", "2026-01-01T00:00:00"], "no offset"),
        (["--packs", "0"], "--packs"),
        (["--output", "no-such-folder/fleet.csv"], "no folder no-such-folder"),
        (["--output", "fleet.xlsx"], ".csv, .arrow, .log, .asc, .blf"),
        (["--output", "fleet.csv", "--pack", "bus-0000"], "for a CAN log"),
        (["--output", "fleet.csv", "--live-s", "5"], "--live-s"),
        (["--output", "fleet.csv", "--days", "0"], "--days"),
        (["--tenant", "t", "--start", "2026-01-01T00:00:00Z"], "--start"),
    ],
)
def test_wrong_usage_ends_with_2_and_names_the_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = bpm_simulate(*arguments)
    assert answer.exit_code == 2, answer.output
    assert words in " ".join(answer.stderr.replace("│", " ").split())
