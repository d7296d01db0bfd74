"""People who sign in: invited by their tenant's administrator, with a password each."""

from dataclasses import dataclass
from typing import Any

import httpx

from tests.described import assert_described
from tests.running import RunningApi

PASSWORD = "four words are better"
CHEAP: dict[str, Any] = {"password_memory_kib": 8192}
"""Settings with which a password is hashed in some milliseconds."""


@dataclass
class Person:
    """A user, and the tokens that it got last."""

    api: RunningApi
    tenant: str
    login: str
    id: str
    tokens: dict[str, Any]

    @property
    def subject(self) -> str:
        return f"user:{self.id}"

    def get(self, path: str = "/v1/packs") -> httpx.Response:
        """A read with the access token."""
        return ask(self.api, "GET", path, headers=bearer(self.tokens["access_token"]))

    def sign_in(self, password: str = PASSWORD) -> httpx.Response:
        answer = sign_in(self.api, self.tenant, self.login, password)
        if answer.status_code == 200:
            self.tokens = answer.json()
        return answer

    def refresh(self, token: str | None = None) -> httpx.Response:
        given = {"refresh_token": token or self.tokens["refresh_token"]}
        answer = ask(self.api, "POST", "/v1/auth/refresh", json=given)
        if answer.status_code == 200:
            self.tokens = answer.json()
        return answer


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def ask(api: RunningApi, method: str, path: str, **sent: Any) -> httpx.Response:
    """A request of nobody, unless its headers say whose it is."""
    answer = httpx.request(method, api.url + path, trust_env=False, timeout=60, **sent)
    assert_described(answer)
    return answer


def sign_in(api: RunningApi, tenant: str, login: str, password: str = PASSWORD) -> httpx.Response:
    return ask(api, "POST", "/v1/auth/token", json={"tenant": tenant, "login": login, "password": password})


def person(api: RunningApi, tenant: str, login: str, *roles: str, sites: list[str] | None = None) -> Person:
    """A user who has accepted the invitation, and is signed in."""
    with api.client(tenant) as admin:
        new = {"login": login, "roles": list(roles) or ["analyst"], "sites": sites}
        invited = admin.post("/v1/users", json=new).raise_for_status().json()
    chosen = {"invitation": invited["invitation"], "password": PASSWORD}
    accepted = ask(api, "POST", "/v1/auth/invitation", json=chosen)
    assert accepted.status_code == 200, accepted.text
    return Person(api, tenant, login, invited["id"], accepted.json())
