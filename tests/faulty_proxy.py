"""An HTTP proxy on loopback, in front of an object store, that keeps a log of requests and disturbs them."""

import http.client
import random
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Request:
    """A request: method, path with its query, the bytes it asks for."""

    method: str
    path: str
    range: str | None

    @property
    def lists(self) -> bool:
        return "list-type=2" in self.path


Fault = tuple[int, str] | str | None
"""(HTTP status, AWS's code), `reset`, `lost` (done, but the answer is lost), `silence`, or None."""

FAULTS: tuple[Fault, ...] = (
    (500, "InternalError"),
    (503, "SlowDown"),
    (503, "ServiceUnavailable"),
    (429, "TooManyRequests"),
    "reset",
    "lost",
)


class FaultyProxy(ThreadingHTTPServer):
    """Asks `disturb` what to do to each request; an exception or a wait in there holds that request alone up."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, upstream: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = upstream
        self.log: list[Request] = []
        self.injected = 0
        self.disturb: Callable[[Request], Fault] = lambda request: None
        self.over = threading.Event()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that gave up is what these tests are about."""

    def stop(self) -> None:
        self.over.set()
        self.shutdown()
        self.server_close()


def at_a_rate(rate: float, seed: int, faults: tuple[Fault, ...] = FAULTS) -> Callable[[Request], Fault]:
    """Disturb a share of the requests."""
    draw, lock = random.Random(seed), threading.Lock()

    def disturb(request: Request) -> Fault:
        with lock:
            return draw.choice(faults) if draw.random() < rate else None

    return disturb


class _Handler(BaseHTTPRequestHandler):
    server: FaultyProxy
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline() not in (b"\r\n", b""):
            pass
        return body

    def _serve(self) -> None:
        body = self._body()
        request = Request(self.command, self.path, self.headers.get("Range"))
        self.server.log.append(request)
        fault = self.server.disturb(request)
        self.server.injected += fault is not None
        match fault:
            case (int(status), str(code)):
                text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>injected</Message></Error>"
                self._answer(status, [("Content-Type", "application/xml")], text.encode())
            case "silence":
                self.server.over.wait()
                self.close_connection = True
            case "reset":
                self._reset()
            case "lost":
                self._forward(body)
                self._reset()
            case _:
                self._answer(*self._forward(body))

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        upstream = http.client.HTTPConnection(*self.server.upstream)
        hop = ("transfer-encoding", "expect", "connection", "content-length")
        headers = {name: value for name, value in self.headers.items() if name.lower() not in hop}
        try:
            upstream.request(self.command, self.path, body, {**headers, "Content-Length": str(len(body))})
            response = upstream.getresponse()
            return response.status, response.getheaders(), response.read()
        finally:
            upstream.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        length = str(len(content))
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() == "content-length" and self.command == "HEAD":
                length = value
            elif name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve  # noqa: N815 - http.server's names
