"""Shapes of devices."""

from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from api.routing import Name, Strict
from api.service_accounts.schemas import Description, ExpiresAt, KeyName, ShownStateName, State


class NewDevice(Strict):
    """What sends the readings of a pack."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"pack": "NX-1", "name": "BMS of NX-1"}]})

    pack: Name
    name: Annotated[Name | None, Field(description="name of the device; null for that of its pack")] = None
    description: Description = ""


class DeviceChange(Strict):
    """What changes. The pack stays."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"state": "suspended"}]})

    name: Name = ""
    description: Description = ""
    state: State = "active"


class Device(BaseModel):
    id: UUID
    name: str
    description: str
    pack: Annotated[str, Field(description="external id of the pack whose readings it sends")]
    state: Annotated[ShownStateName, Field(description="its keys are taken while it is active")]
    deleted_at: Annotated[str | None, Field(description="when it was deleted; null when it is not")]
    created_by: str
    created_at: str
    version: int


class DevicePage(BaseModel):
    items: list[Device]
    next_cursor: str | None


class NewDeviceKey(Strict):
    """A key of a device."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "first"}]})

    name: KeyName
    expires_at: ExpiresAt = None
