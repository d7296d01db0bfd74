"""Clients of live streams that behave badly: bytes over a bare connection."""

import base64
import os
import socket
from urllib.parse import urlsplit

from websockets.frames import Frame, Opcode

_WINDOW_BYTES = 4096
ANSWER_S_MAX = 20


def masked(opcode: Opcode, data: bytes, *, fin: bool = True) -> bytes:
    """A client's frame."""
    return Frame(opcode, data, fin).serialize(mask=True)


class BareSocket:
    """A WebSocket that reads only when it is told to, and into little room."""

    def __init__(
        self,
        url: str,
        path: str = "/v1/alerts/live",
        headers: dict[str, str] | None = None,
        source: str = "127.0.0.1",
    ) -> None:
        host, port = str(urlsplit(url).hostname), int(urlsplit(url).port or 0)
        self.connection = socket.socket()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _WINDOW_BYTES)
        self.connection.settimeout(ANSWER_S_MAX)
        self.connection.bind((source, 0))
        self.connection.connect((host, port))
        asked = {
            "Host": f"{host}:{port}",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        } | (headers or {})
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in asked.items()), "", ""]
        self.connection.sendall("\r\n".join(lines).encode("latin-1"))
        self.head = b""
        while not self.head.endswith(b"\r\n\r\n"):
            one = self.connection.recv(1)
            if not one:
                break
            self.head += one

    @property
    def status(self) -> int:
        """Status of the handshake's answer."""
        return int(self.head.split(b" ", 2)[1])

    def say(self, data: bytes) -> None:
        """Send bytes, whatever they are."""
        self.connection.sendall(data)

    def rest(self) -> bytes:
        """All that comes until the other side closes or ends."""
        found = b""
        try:
            while close_code(found) is None and (some := self.connection.recv(65_536)):
                found += some
        except ConnectionResetError:
            pass
        return found

    def close(self) -> None:
        self.connection.close()


def close_code(sent: bytes) -> int | None:
    """The code of the close frame at the end of what a server sent; None when it sent none."""
    place, code = 0, None
    while place + 2 <= len(sent):
        opcode, size, head = sent[place] & 15, sent[place + 1] & 127, 2
        if size == 126:
            size, head = int.from_bytes(sent[place + 2 : place + 4], "big"), 4
        elif size == 127:
            size, head = int.from_bytes(sent[place + 2 : place + 10], "big"), 10
        if opcode == Opcode.CLOSE and size >= 2:
            code = int.from_bytes(sent[place + head : place + head + 2], "big")
        place += head + size
    return code
