"""Which environment an installation is for, where it listens and where its data are."""

from enum import StrEnum
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings


class Environment(StrEnum):
    PRODUCTION = "production"
    DEVELOPMENT = "development"


class Installation(BaseSettings):
    """The environment, the address and the data folder."""

    env: Environment = Field(
        Environment.PRODUCTION,
        description="production, or development: own signing key, no outside issuer needed",
    )
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=1, le=65535, description="port to listen on")
    data_dir: Path = Field(Path("var"), description="folder of everything that the engine keeps itself")
