"""A real receiver of webhooks on loopback: it keeps what it is sent, and answers as it is told."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson


@dataclass(frozen=True)
class Received:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def said(self) -> dict[str, Any]:
        return dict(orjson.loads(self.body))


Answer = tuple[int, dict[str, str], bytes]
OK: Answer = (200, {}, b"thanks")


def status(code: int, **headers: str) -> Answer:
    return (code, {name.replace("_", "-"): value for name, value in headers.items()}, b"no")


@dataclass
class Receiver:
    """`answer` decides by what was received; raw bytes are written as they are, instead of HTTP."""

    url: str
    port: int
    received: list[Received] = field(default_factory=list)
    answer: Callable[[Received], Answer | bytes] = lambda _: OK
    arrived: threading.Condition = field(default_factory=threading.Condition)

    def wait_for(self, count: int, timeout_s: float = 20) -> list[Received]:
        """What was received, once it is so many."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.received) >= count, timeout_s), self.received
            return list(self.received)

    def kinds(self) -> list[str]:
        return [one.said["type"] for one in self.received]


@contextmanager
def receiving(port: int = 0) -> Iterator[Receiver]:
    """A receiver until the end; it may take up a port where another was."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            one = Received(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            with receiver.arrived:
                receiver.received.append(one)
                receiver.arrived.notify_all()
            answer = receiver.answer(one)
            if isinstance(answer, bytes):
                self.wfile.write(answer)
                return
            code, headers, content = answer
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing on the terminal."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        allow_reuse_address = True

        def handle_error(self, *_: object) -> None:
            """A sender that hangs up is what some tests are about."""

    server = Server(("127.0.0.1", port), Handler)
    number = int(server.server_address[1])
    receiver = Receiver(f"http://127.0.0.1:{number}/hook", number)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), name="receiver", daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
