"""Shapes of key aliases."""

from typing import Annotated

from pydantic import BaseModel, Field

from api.routing import Name, Strict

Number = Annotated[float, Field(allow_inf_nan=False)]


class Alias(Strict):
    """Another name of a key; a measure's value is what stands under it, times factor, plus offset."""

    alias: Annotated[Name, Field(description="the name that devices use", max_length=100)]
    key: Annotated[Name, Field(description="`pack`, `ts` or a measure")]
    factor: Annotated[Number, Field(description="into the measure's unit, such as 0.001 for mV")] = 1.0
    offset: Annotated[Number, Field(description="in the measure's unit, such as -273.15 for K")] = 0.0


class AliasSet(Strict):
    """All aliases of the tenant."""

    aliases: list[Alias]

    model_config = Strict.model_config | {
        "json_schema_extra": {
            "example": {
                "aliases": [
                    {"alias": "packVoltage_mV", "key": "voltage_v", "factor": 0.001},
                    {"alias": "deviceId", "key": "pack"},
                ]
            }
        }
    }


class AliasesNow(BaseModel):
    """All aliases of the tenant by name, with the version of their set."""

    aliases: list[Alias]
    version: int
