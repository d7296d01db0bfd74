"""Registration from CSV: every row is checked, and either all of them go in or none."""

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.responses import Response

from api.errors import problem
from api.routing import CSV, answer, engine_of, read_body
from domain.errors import BodyTooLargeError, BodyUnreadableError, InvalidRequestError, UnsupportedFormatError

Row = TypeVar("Row", bound=BaseModel)


class RowProblem(BaseModel):
    """What is wrong with one row; rows are counted from 1, without the header."""

    row: int
    field: str | None
    problem: str


class Registration(BaseModel):
    """What a registration did, or would do: all rows or none."""

    dry_run: bool
    rows: int
    created: int
    existing: int
    problems: list[RowProblem]


def csv_body(example: str) -> dict[str, Any]:
    """The request body of a registration as OpenAPI."""
    return {
        "requestBody": {
            "required": True,
            "content": {CSV: {"schema": {"type": "string"}, "example": example}},
        }
    }


_HTTP_INVALID = 422

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
"""A number as programs write it; Python's float would also read 1_000, nan and other alphabets' digits."""


async def read_csv_body(request: Request) -> bytes:
    """The CSV body. Raises UnsupportedFormatError for another type, BodyTooLargeError."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != CSV:
        raise UnsupportedFormatError(f"send the body as {CSV}", field="Content-Type")
    return await read_body(request, engine_of(request).settings.json_body_bytes_max)


def answer_registration(request: Request, result: Registration) -> Response:
    """200 with what was done, or would be; a problem that names every row when nothing was done because of them."""
    if not result.problems:
        return answer(result.model_dump())
    first, count = result.problems[0], len(result.problems)
    detail = (
        f"{count} of {result.rows} rows are wrong, and nothing was done; row {first.row}: {first.problem}"
    )
    return problem(
        request,
        _HTTP_INVALID,
        InvalidRequestError.code,
        "A row is wrong",
        detail,
        field=first.field,
        **result.model_dump(),
    )


@dataclass(frozen=True, slots=True)
class ReadRows(Generic[Row]):
    """The good rows with their numbers, and the problems of the others."""

    rows: list[tuple[int, Row]]
    problems: list[RowProblem] = field(default_factory=list)

    @property
    def total(self) -> int:
        return len(self.rows) + len({problem.row for problem in self.problems})


def read_rows(body: bytes, shape: type[Row], numbers: frozenset[str], rows_max: int) -> ReadRows[Row]:
    """The rows of a CSV with a header, checked against a shape; empty cells are absent.

    numbers: columns to be read as numbers. Raises BodyUnreadableError for what isn't such a CSV,
    BodyTooLargeError for too many rows.
    """
    try:
        reader = csv.DictReader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
        header = list(reader.fieldnames or [])
        _check_header(header, shape)
        read: ReadRows[Row] = ReadRows([])
        for number, cells in enumerate(reader, start=1):
            if number > rows_max:
                raise BodyTooLargeError(f"more than {rows_max} rows", limit=rows_max)
            _read_row(number, cells, shape, numbers, read)
    except (UnicodeDecodeError, csv.Error) as error:
        raise BodyUnreadableError(f"the body is not CSV in UTF-8: {error}") from error
    return read


def _check_header(header: list[str], shape: type[BaseModel]) -> None:
    required = {name for name, info in shape.model_fields.items() if info.is_required()}
    if len(set(header)) != len(header):
        raise BodyUnreadableError("the header names a column twice")
    if missing := sorted(required - set(header)):
        raise BodyUnreadableError(f"the header lacks {', '.join(missing)}", field=missing[0])
    if unknown := sorted(set(header) - set(shape.model_fields)):
        raise BodyUnreadableError(
            f"the header has unknown columns; known are {', '.join(shape.model_fields)}", limit=len(unknown)
        )


def _read_row(
    number: int,
    cells: Mapping[str | None, object],
    shape: type[Row],
    numbers: frozenset[str],
    into: ReadRows[Row],
) -> None:
    if None in cells:
        into.problems.append(RowProblem(row=number, field=None, problem="more cells than columns"))
        return
    values: dict[str, object] = {}
    for name, cell in cells.items():
        if name is None or not isinstance(cell, str) or cell == "":
            continue
        if name not in numbers:
            values[name] = cell
        elif _NUMBER.fullmatch(cell):
            values[name] = float(cell)
        else:
            into.problems.append(RowProblem(row=number, field=name, problem="expected a number"))
            return
    try:
        into.rows.append((number, shape.model_validate(values)))
    except ValidationError as error:
        into.problems.append(problem_of(number, error))


def problem_of(row: int, error: ValidationError) -> RowProblem:
    """The first thing that is wrong with a row."""
    first = error.errors()[0]
    field = ".".join(map(str, first["loc"])) or None
    return RowProblem(row=row, field=field, problem=first["msg"].removeprefix("Value error, "))
