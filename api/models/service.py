"""Use cases of models of packs."""

from typing import Annotated

from pydantic import Field, ValidationError

from api.call import Call
from api.models.schemas import Capacity, NewModel, Voltage
from api.records import RecordService
from api.registration import Registration, RowProblem, problem_of, read_rows
from api.routing import Name, Strict
from storage.records import MODELS

SERVICE = RecordService(MODELS)

_NUMBERS = frozenset({"rated_capacity_ah", "voltage_min_v", "voltage_max_v"})


class ModelRow(Strict):
    """A row of a CSV of models."""

    name: Name
    chemistry: Name
    rated_capacity_ah: Capacity
    voltage_min_v: Annotated[Voltage, Field()] = None
    voltage_max_v: Annotated[Voltage, Field()] = None


async def register(call: Call, body: bytes, *, dry_run: bool) -> Registration:
    """Register models from CSV, all or none. Names that are taken count as existing and stay as they are."""
    read = read_rows(body, ModelRow, _NUMBERS, call.engine.settings.csv_rows_max)
    problems = list(read.problems)
    seen: dict[str, int] = {}
    new: list[NewModel] = []
    for number, row in read.rows:
        if row.name in seen:
            problem = f"the name stands in row {seen[row.name]} too"
            problems.append(RowProblem(row=number, field="name", problem=problem))
            continue
        seen[row.name] = number
        try:
            new.append(NewModel.model_validate(row.model_dump()))
        except ValidationError as error:
            problems.append(problem_of(number, error))
    async with call.transaction() as transaction:
        taken = await MODELS.known(transaction, set(seen))
        if problems or dry_run:
            return Registration(
                dry_run=dry_run,
                rows=read.total,
                created=0 if problems else len(new) - len(taken),
                existing=len(taken),
                problems=sorted(problems, key=lambda found: found.row),
            )
        for model in new:
            if model.name not in taken:
                await MODELS.insert(transaction, model.model_dump())
    return Registration(
        dry_run=False, rows=read.total, created=len(new) - len(taken), existing=len(taken), problems=[]
    )
