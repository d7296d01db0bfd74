"""Requests to receivers that tenants name: only to addresses that were checked, and with a limit on everything."""

import asyncio
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import httpx

from api.delivering.outcome import Outcome, excerpt
from domain.errors import InvalidRequestError
from domain.outside_addresses import Network, refusal

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a name and port. Raises OSError."""

_ADDRESSES_TRIED_MAX: Final = 3
_URL_CHARACTERS_MAX: Final = 2000
_PORT_MAX: Final = 65_535
_RESTING: Final = frozenset({408, 429, *range(500, 600)})
"""Statuses by which a receiver says that it can't take anything now; others speak of the message."""

_NOT_PRINTABLE: Final = re.compile(r"[^!-~]")


@dataclass(frozen=True, slots=True)
class WebhookLimits:
    """Where requests may go, and what they may cost. ports: those allowed, all when there are none."""

    networks: tuple[Network, ...]
    ports: frozenset[int]
    http_allowed: bool
    s_max: float
    answer_bytes_max: int
    excerpt_characters_max: int


def checked_url(text: str, limits: WebhookLimits) -> httpx.URL:
    """The URL of a receiver. Raises InvalidRequestError for one that is never reached."""
    schemes = ("https", "http") if limits.http_allowed else ("https",)
    if len(text) > _URL_CHARACTERS_MAX or _NOT_PRINTABLE.search(text):
        raise InvalidRequestError(
            f"expected a URL of up to {_URL_CHARACTERS_MAX} printable ASCII characters",
            field="url",
            limit=_URL_CHARACTERS_MAX,
        )
    try:
        url = httpx.URL(text)
        host = url.raw_host.decode("ascii")
    except (httpx.InvalidURL, ValueError) as error:
        raise InvalidRequestError("this is no URL", field="url") from error
    if not 0 < port_of(url) <= _PORT_MAX:
        raise InvalidRequestError("there is no such port", field="url", limit=_PORT_MAX)
    if url.scheme not in schemes or not host:
        raise InvalidRequestError(f"expected a URL that begins with {schemes[0]}://", field="url")
    if url.userinfo or url.fragment:
        raise InvalidRequestError("a URL with a user, a password or a fragment is refused", field="url")
    if limits.ports and port_of(url) not in limits.ports:
        raise InvalidRequestError(
            f"allowed ports are {', '.join(map(str, sorted(limits.ports)))}", field="url"
        )
    if _is_address(host) and refusal(host, limits.networks) is not None:
        raise InvalidRequestError("this is not an address of the internet", field="url")
    return url


def port_of(url: httpx.URL) -> int:
    """The port, also where the scheme implies it."""
    implied = 443 if url.scheme == "https" else 80
    return implied if url.port is None else url.port


def _is_address(host: str) -> bool:
    try:
        socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    except OSError:
        return False
    return True


class _RefusedError(Exception):
    """A receiver that isn't reached; the message says why."""


class WebhookSender:
    """Sends a body to a URL. The name is resolved once, and what was checked is what is connected to."""

    def __init__(self, limits: WebhookLimits, trusted: ssl.SSLContext, resolve: Resolve, agent: str) -> None:
        self._limits = limits
        self._trusted = trusted
        self._resolve = resolve
        self._agent = agent

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Outcome:
        """What the receiver answered. Never raises for what a receiver, a name or a network does."""
        try:
            async with asyncio.timeout(self._limits.s_max):
                return await self._send(checked_url(url, self._limits), headers, body)
        except TimeoutError:
            return Outcome(
                delivered=False, error=f"no whole answer within {self._limits.s_max:g} s", rests=True
            )
        except (InvalidRequestError, _RefusedError) as error:
            return Outcome(delivered=False, error=str(error), rests=True)
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError, UnicodeError) as error:
            return Outcome(delivered=False, error=_said(error), rests=True)

    async def _send(self, url: httpx.URL, headers: Mapping[str, str], body: bytes) -> Outcome:
        unreachable: Exception | None = None
        for address in await self._addresses(url):
            try:
                return await self._send_to(address, url, headers, body)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                unreachable = error
        raise unreachable or _RefusedError("the name has no address")

    async def _addresses(self, url: httpx.URL) -> list[str]:
        """The addresses to try. One of them that is refused refuses the name: it is meant to lead elsewhere."""
        host = url.raw_host.decode("ascii")
        try:
            found = [host] if _is_address(host) else await self._resolve(host, port_of(url))
        except OSError as error:
            raise _RefusedError("the name can't be resolved") from error
        for address in found:
            refused = refusal(address, self._limits.networks)
            if refused is not None:
                raise _RefusedError(refused)
        return list(dict.fromkeys(found))[:_ADDRESSES_TRIED_MAX]

    async def _send_to(
        self, address: str, url: httpx.URL, headers: Mapping[str, str], body: bytes
    ) -> Outcome:
        host = url.raw_host.decode("ascii")
        extensions: dict[str, object] = {"timeout": httpx.Timeout(self._limits.s_max).as_dict()}
        if not _is_address(host):
            # The certificate must be that of the name, though the address is what is connected to.
            extensions["sni_hostname"] = host
        request = httpx.Request(
            "POST",
            url.copy_with(host=address),
            headers={
                "Host": url.netloc.decode("ascii"),
                "Content-Type": "application/json",
                "User-Agent": self._agent,
                "Connection": "close",
                "Accept-Encoding": "identity",
                **headers,
            },
            content=body,
            extensions=extensions,
        )
        # A transport of its own: a kept connection would be that of an address, whatever name it was made for.
        # Beneath the client nothing follows redirects, keeps cookies, or logs the URL.
        async with httpx.AsyncHTTPTransport(verify=self._trusted, trust_env=False) as transport:
            response = await transport.handle_async_request(request)
            try:
                answered = await self._read(response)
            finally:
                await response.aclose()
        return self._outcome(response, answered)

    async def _read(self, response: httpx.Response) -> bytes:
        found = b""
        async for chunk in response.aiter_raw():
            found += chunk
            if len(found) >= self._limits.answer_bytes_max:
                break
        return found[: self._limits.answer_bytes_max]

    def _outcome(self, response: httpx.Response, answered: bytes) -> Outcome:
        status = response.status_code
        error = None
        if response.is_redirect:
            error = f"answered {status}: redirects are not followed"
        elif not response.is_success:
            error = f"answered {status}"
        return Outcome(
            delivered=response.is_success,
            status=status,
            answer=excerpt(answered.decode("utf-8", "replace"), self._limits.excerpt_characters_max) or None,
            error=error,
            rests=status in _RESTING,
            gone=status == HTTPStatus.GONE,
            retry_after_s=_retry_after_s(response.headers.get("Retry-After")),
        )


def _retry_after_s(text: str | None) -> float | None:
    """Seconds of Retry-After; a date is passed over, since our own waits do as well."""
    return float(text) if text is not None and re.fullmatch(r"[0-9]{1,6}", text) else None


def _said(error: Exception) -> str:
    """What went wrong, without what it might repeat of the URL."""
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return "the receiver can't be reached"
    if isinstance(error, httpx.TimeoutException):
        return "the receiver didn't answer in time"
    if isinstance(error, httpx.RemoteProtocolError):
        return "the receiver didn't answer in HTTP"
    return f"the connection failed ({type(error).__name__})"


def make_resolve(threads_max: int) -> Resolve:
    """The system's resolver, in threads of its own: a name that hangs holds up nobody else."""
    threads = ThreadPoolExecutor(threads_max, "resolve")

    async def resolve(host: str, port: int) -> list[str]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(
            threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
        return [str(where[4][0]) for where in found]

    return resolve
