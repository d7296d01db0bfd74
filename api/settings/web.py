"""By which names the API is served, through whom, and to pages of which origins."""

import re
from ipaddress import ip_network
from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings

from api.settings.listed import Listed

_ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?|https?://\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?")


class Web(BaseSettings):
    """TLS, proxies, names and origins."""

    tls_certificate_file: Path | None = Field(
        None, description="certificate with its chain, PEM: the API is served by TLS 1.2 or later alone"
    )
    tls_key_file: Path | None = Field(None, description="its private key, PEM")
    proxies_trusted: Listed = Field(
        (),
        description="addresses or networks of proxies whose X-Forwarded-For and X-Forwarded-Proto are believed; of"
        " others nothing is",
    )
    hosts_allowed: Listed = Field(
        (),
        description="names by which the API may be asked for, such as `api.example.org`; else 400; all if none",
    )
    cors_origins: Listed = Field(
        (),
        description="origins of pages elsewhere that may use the API, such as `https://fleet.example.org`; without"
        " cookies",
    )

    @field_validator("proxies_trusted")
    @classmethod
    def _networks(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in proxies:
            try:
                ip_network(proxy)
            except ValueError as error:
                raise ValueError(f"{proxy} is neither an address nor a network") from error
        return proxies

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if _ORIGIN.fullmatch(origin) is None:
                raise ValueError(f"{origin} is no origin, such as https://fleet.example.org; * is refused")
        return origins
