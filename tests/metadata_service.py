"""A cloud's metadata service on this machine: AWS' with tokens that expire, Google Cloud's with its header."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class MetadataService(ThreadingHTTPServer):
    """`notices` are texts by the end of their paths; anything else is a 404. Forget `tokens`, and they have expired."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.notices: dict[str, str] = {}
        self.tokens: list[str] = []
        self.refused = 0
        self.broken = False

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def announce_on_aws(self, seconds: int) -> None:
        """The machine is terminated in so many seconds."""
        moment = datetime.now(UTC) + timedelta(seconds=seconds)
        self.notices["spot/instance-action"] = json.dumps(
            {"action": "terminate", "time": f"{moment:%Y-%m-%dT%H:%M:%SZ}"}
        )


class _Handler(BaseHTTPRequestHandler):
    server: MetadataService

    def do_PUT(self) -> None:
        if self.path != "/latest/api/token" or not self.headers["X-aws-ec2-metadata-token-ttl-seconds"]:
            return self._answer(400)
        self.server.tokens.append(f"token-{len(self.server.tokens)}")
        return self._answer(200, self.server.tokens[-1])

    def do_GET(self) -> None:
        if self.server.broken:
            return self._answer(503)
        if self.path.startswith("/latest/meta-data/"):
            if self.headers["X-aws-ec2-metadata-token"] not in self.server.tokens:
                self.server.refused += 1
                return self._answer(401)
        elif self.headers["Metadata-Flavor"] != "Google":
            return self._answer(403)
        text = next((text for end, text in self.server.notices.items() if self.path.endswith(f"/{end}")), None)
        return self._answer(404) if text is None else self._answer(200, text)

    def _answer(self, code: int, text: str = "") -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *words: object) -> None:
        """Nothing."""


@contextmanager
def metadata_service() -> Iterator[MetadataService]:
    """One that runs for as long as this lasts."""
    with MetadataService() as service:
        thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield service
        finally:
            service.shutdown()
            thread.join()
