"""How the page is served: its headers, plotly.js from the installed package, and who is given development tokens."""

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import httpx
import pytest

from api.bootstrap import make_engine
from api.database_access import DatabaseAccess
from api.page.routes import FOLDER, PLOTLY_PATH
from api.page.sign_in import Asked, DevelopmentSignIn
from api.settings import Environment, Settings
from domain.errors import BusyError, NotFoundError
from domain.tenancy import Role
from storage.registry import Registry
from tests.running import RunningApi

LOCAL = Asked("127.0.0.1", "localhost")


@pytest.fixture
def anonymous(api: RunningApi) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=api.url, trust_env=False) as client:
        yield client


def test_every_answer_of_the_page_has_its_policy(anonymous: httpx.Client) -> None:
    for path in ("/", "/page/files/main.js", "/page/files/style.css", "/page/context", PLOTLY_PATH):
        answer = anonymous.get(path)
        assert answer.status_code == 200, path
        policy = answer.headers["Content-Security-Policy"]
        for part in ("default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"):
            assert part in policy.split("; "), path
        assert "unsafe-inline" not in policy.replace("style-src-attr 'unsafe-inline'", "")
        assert "unsafe-eval" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"


def test_plotly_is_that_of_the_installed_package_and_is_fetched_once(anonymous: httpx.Client) -> None:
    answer = anonymous.get(PLOTLY_PATH)
    assert answer.content == files("plotly").joinpath("package_data", "plotly.min.js").read_bytes()
    assert "immutable" in answer.headers["Cache-Control"]
    assert int(answer.headers["Content-Length"]) < 2_000_000


def test_files_are_asked_for_again_and_come_only_when_they_changed(anonymous: httpx.Client) -> None:
    first = anonymous.get("/page/files/main.js")
    assert (first.headers["Cache-Control"], first.headers["Content-Type"].split(";")[0]) == (
        "no-cache",
        "text/javascript",
    )
    again = anonymous.get("/page/files/main.js", headers={"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304


@pytest.mark.parametrize(
    "path", ["/page/files/../routes.py", "/page/files/%2e%2e/routes.py", "/page/files/none.js"]
)
def test_nothing_beside_the_files_is_served(anonymous: httpx.Client, path: str) -> None:
    answer = anonymous.get(path)
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/problem+json")


def test_the_page_has_no_inline_script_and_nothing_from_elsewhere() -> None:
    for path in FOLDER.rglob("*"):
        if path.suffix in (".html", ".js", ".css"):
            text = path.read_text(encoding="utf-8")
            outside = text.replace("http://www.w3.org/2000/svg", "")
            assert "http://" not in outside, path
            assert "https://" not in outside, path
    index = (FOLDER / "index.html").read_text(encoding="utf-8")
    assert all("src=" in line for line in index.splitlines() if "<script" in line)


def test_modules_fit_a_few_screens() -> None:
    lines = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in FOLDER.rglob("*.js")}
    assert max(lines.values()) <= 400, lines


def test_development_sign_in_gives_a_token_of_a_tenant_that_there_is(
    api: RunningApi, anonymous: httpx.Client
) -> None:
    api.tenant("alpha")
    told = anonymous.get("/page/context").json()["development_sign_in"]
    assert "alpha" in told["tenants"]
    assert told["roles"] == list(Role)
    token = anonymous.post("/page/development-token", json={"tenant": "alpha", "role": "analyst"}).json()[
        "token"
    ]
    headers = {"Authorization": f"Bearer {token}"}
    assert anonymous.get("/v1/packs", headers=headers).status_code == 200
    assert anonymous.post("/v1/packs", headers=headers, json={"pack": "P-1"}).status_code == 403
    unknown = anonymous.post("/page/development-token", json={"tenant": "none", "role": "analyst"})
    assert (unknown.status_code, unknown.json()["field"]) == (404, "tenant")
    wrong = anonymous.post("/page/development-token", json={"tenant": "alpha", "role": "king"})
    assert (wrong.status_code, wrong.json()["field"]) == (422, "role")


def test_page_of_the_internet_that_calls_itself_this_machine_gets_no_token(anonymous: httpx.Client) -> None:
    headers = {"Host": "rebound.example.com"}
    wanted = {"tenant": "alpha", "role": "tenant_admin"}
    assert anonymous.post("/page/development-token", json=wanted, headers=headers).status_code == 404
    assert anonymous.get("/page/context", headers=headers).json()["development_sign_in"] is None


@pytest.mark.parametrize(
    ("asked", "is_local"),
    [
        (Asked("127.0.0.1", "127.0.0.1"), True),
        (Asked("::1", "localhost"), True),
        (Asked("127.0.0.1", "engine.example.com"), False),
        (Asked("10.1.2.3", "localhost"), False),
        (Asked(None, "localhost"), False),
        (Asked("127.0.0.1", None), False),
    ],
)
def test_this_machine_is_known_by_address_and_name(asked: Asked, is_local: bool) -> None:
    assert asked.is_local is is_local


def sign_in(registry: Registry, **settings: object) -> DevelopmentSignIn:
    return DevelopmentSignIn(Settings.model_validate(settings), registry, lambda: 0.0)


async def token_of(made: DevelopmentSignIn) -> str:
    return await made.token(LOCAL, "alpha", Role.ANALYST)


@pytest.mark.parametrize(
    "settings",
    [
        {"env": Environment.PRODUCTION},
        {"env": Environment.DEVELOPMENT, "token_issuer": "https://issuer.example.com"},
    ],
)
def test_there_is_no_sign_in_in_production_or_with_an_issuer(
    api: RunningApi, settings: dict[str, str]
) -> None:
    made = sign_in(api.engine.registry, **settings)
    assert not made.offered(LOCAL)
    with pytest.raises(NotFoundError):
        token_of(made).send(None)


def test_too_many_sign_ins_in_a_minute_are_refused(database: DatabaseAccess, tmp_path: Path) -> None:
    moment_s = [0.0]
    settings = Settings(env=Environment.DEVELOPMENT, data_dir=tmp_path, development_tokens_per_minute_max=2)
    made = DevelopmentSignIn(settings, make_engine(settings, database).registry, lambda: moment_s[0])
    made._count()
    moment_s[0] = 30
    made._count()
    with pytest.raises(BusyError) as refused:
        made._count()
    assert (refused.value.limit, refused.value.facts["retry_after_s"]) == (2, 30)
    moment_s[0] = 60
    made._count()
