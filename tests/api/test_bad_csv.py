"""Registration from CSV: all rows or none, and what is wrong is told row by row."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.running import RunningApi

MODEL_HEADER = "name,chemistry,rated_capacity_ah,voltage_min_v,voltage_max_v\n"


@pytest.fixture(scope="module")
def client(api: RunningApi) -> Iterator[httpx.Client]:
    with api.client(api.tenant("acme", register_unknown_packs=False)) as client:
        client.post("/v1/sites", json={"name": "Hall 1", "zone": "UTC"}).raise_for_status()
        yield client


def register(client: httpx.Client, subject: str, body: str | bytes, **params: Any) -> httpx.Response:
    headers = {"Content-Type": "text/csv"}
    return client.post(f"/v1/{subject}/import", content=body, headers=headers, params=params)


def names(client: httpx.Client, subject: str) -> set[str]:
    items = client.get(f"/v1/{subject}", params={"limit": 1000}).json()["items"]
    return {item["pack" if subject == "packs" else "name"] for item in items}


UNREADABLE: dict[str, bytes] = {
    "nothing": b"",
    "no header": b"\n",
    "not UTF-8": b"pack\n\xff\n",
    "UTF-16": "pack\nU-1\n".encode("utf-16"),
    "column missing": b"model,site\nM,Hall 1\n",
    "column unknown": b"pack,colour\nU-1,red\n",
    "column twice": b"pack,pack\nU-1,U-2\n",
    "column with NUL": b"pack,si\0te\nU-1,\n",
    "header in quotes that don't end": b'"pack\nU-1\n',
    "quotes that don't end": b'pack\nU-1\n"U-2\n',
    "text behind quotes": b'pack\n"U-1"x\n',
    "a cell beyond the limit of cells": b"pack\n" + b"U" * 200_000 + b"\n",
}


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize("body", UNREADABLE)
def test_csv_that_can_not_be_read_answers_400(client: httpx.Client, body: str, dry_run: bool) -> None:
    before = names(client, "packs")
    answer = register(client, "packs", UNREADABLE[body], dry_run=dry_run)
    assert (answer.status_code, answer.json()["code"]) == (400, "body_unreadable"), answer.text
    assert names(client, "packs") == before


WRONG_ROWS: dict[str, tuple[bytes, int, str | None]] = {
    "more cells than columns": (b"pack\nW-1\nW-2,x\n", 2, None),
    "no name": (b"pack,site\nW-1,\n,Hall 1\n", 2, "pack"),
    "name of 201 characters": (b"pack\nW-1\n" + b"W" * 201 + b"\n", 2, "pack"),
    "NUL": (b"pack\nW-1\nW\0-2\n", 2, "pack"),
    "line break in quotes": (b'pack\nW-1\n"W-\n2"\n', 2, "pack"),
    "name twice": (b"pack\nW-1\nW-2\nW-1\n", 3, "pack"),
    "unknown model": (b"pack,model\nW-1,\nW-2,nobody\n", 2, "model"),
    "unknown site": (b"pack,site\nW-1,\nW-2,hall 1\n", 2, "site"),
    "half an id as site": (b"pack,site\nW-1,\nW-2,00000000\n", 2, "site"),
}


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize("wrong", WRONG_ROWS)
def test_one_wrong_row_keeps_all_rows_out(client: httpx.Client, wrong: str, dry_run: bool) -> None:
    body, row, field = WRONG_ROWS[wrong]
    before = names(client, "packs")
    answer = register(client, "packs", body, dry_run=dry_run)
    assert (answer.status_code, answer.json()["created"]) == (422, 0), answer.text
    assert [(found["row"], found["field"]) for found in answer.json()["problems"]] == [(row, field)]
    assert names(client, "packs") == before


@pytest.mark.parametrize(
    "number",
    ["9223372036854775808", "nan", "inf", "-inf", "1e400", "1_000", "1,5", "٣", "0x10", " 1", "0", "-1", "true", "=1+1"],
)  # fmt: skip
def test_wrong_number_is_named_by_row_and_column(client: httpx.Client, number: str) -> None:
    body = f'{MODEL_HEADER}N-1,LFP,1,,\nN-2,LFP,"{number}",,\n'
    answer = register(client, "models", body)
    assert answer.status_code == 422
    assert [(found["row"], found["field"]) for found in answer.json()["problems"]] == [
        (2, "rated_capacity_ah")
    ]
    assert not names(client, "models") & {"N-1", "N-2"}


def test_limits_that_contradict_each_other_are_told_in_words(client: httpx.Client) -> None:
    answer = register(client, "models", f"{MODEL_HEADER}V-1,LFP,1,5,4\n")
    assert [found["problem"] for found in answer.json()["problems"]] == [
        "voltage_min_v is not below voltage_max_v"
    ]


def test_byte_order_mark_quotes_and_other_line_ends_are_read(client: httpx.Client) -> None:
    body = b'\xef\xbb\xbf"pack","site"\r\n"Q-1, the ""first""","Hall 1"\r\nQ-2,\r\n\r\n'
    answer = register(client, "packs", body)
    assert (answer.status_code, answer.json()["created"]) == (200, 2)
    assert {'Q-1, the "first"', "Q-2"} <= names(client, "packs")


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "=cmd|' /C calc'!A0"])
def test_cell_that_a_spreadsheet_would_run_is_a_name_like_any_other(client: httpx.Client, cell: str) -> None:
    assert register(client, "packs", f'pack\n"{cell}"\n').json()["created"] == 1
    assert cell in names(client, "packs")
    asked = {
        "pack": cell,
        "measure": "voltage_v",
        "from": "2026-01-01T00:00:00Z",
        "to": "2027-01-01T00:00:00Z",
    }
    exported = client.get("/v1/trends", params=asked, headers={"Accept": "text/csv"})
    assert exported.text == "ts,voltage_v\n", "no name of a pack reaches a CSV that we give"


def test_rows_that_are_registered_already_stay_as_they_are(client: httpx.Client) -> None:
    assert register(client, "packs", "pack,site\nE-1,\n").json()["created"] == 1
    again = register(client, "packs", "pack,site\nE-1,Hall 1\nE-2,\n").json()
    assert (again["created"], again["existing"]) == (1, 1)
    (kept,) = [pack for pack in client.get("/v1/packs?limit=1000").json()["items"] if pack["pack"] == "E-1"]
    assert kept["site"] is None


@pytest.mark.parametrize("subject", ["packs", "models"])
def test_too_many_rows_or_bytes_answer_413(client: httpx.Client, subject: str) -> None:
    header, row = ("pack\n", "{}\n") if subject == "packs" else (MODEL_HEADER, "{},L,1,,\n")
    rows = header + "".join(row.format(number) for number in range(100_001))
    for body in (rows, header.ljust((4 << 20) + 1)):
        answer = register(client, subject, body)
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/json", "application/vnd.ms-excel"])
def test_other_formats_answer_415(client: httpx.Client, content_type: str) -> None:
    headers = {"Content-Type": content_type}
    answer = client.post("/v1/packs/import", content=b"pack\nF-1\n", headers=headers)
    assert answer.status_code == 415
    assert "F-1" not in names(client, "packs")


@pytest.mark.parametrize("dry_run", ["maybe", "", "2", ["true", "false"]])
def test_dry_run_that_is_neither_true_nor_false_registers_nothing(client: httpx.Client, dry_run: Any) -> None:
    assert register(client, "packs", "pack\nD-1\n", dry_run=dry_run).status_code == 422
    assert "D-1" not in names(client, "packs")
