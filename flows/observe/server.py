"""``GET /metrics`` and ``GET /healthz``, in a thread beside the flow."""

import errno
import json
import socket
import socketserver
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from prometheus_client.exposition import choose_encoder

from dynmm_core.errors import UserError
from flows.observe.health import Health
from flows.observe.logs import get_logger
from flows.observe.metrics import FlowMetrics

LOOPBACK = "127.0.0.1"
_IDLE_SECONDS = 10
log = get_logger()


def port_of(port: int, process: int) -> int:
    """The port of one process of several: the first one's plus its number; 0, any free port, stays 0."""
    mine = port + process if port else 0
    if not 0 <= mine <= 65_535:
        raise UserError(f"observe.port: {port} leaves no port for process {process}; give one between 1 and {65_535 - process}")
    return mine


class ObserveServer:
    """Answers scrapes and health checks until it is stopped. Port 0 takes any free one; :attr:`port` tells which."""

    def __init__(self, metrics: FlowMetrics, health: Health, host: str = LOOPBACK, port: int = 0) -> None:
        self._metrics, self._health = metrics, health
        self._host, self.port = host, port
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen and answer from now on.

        Raises:
            UserError: the port is taken, or host and port cannot be listened on.
        """
        try:
            self._server = _Server(self._host, self.port, self._metrics, self._health)
        except OSError as error:
            raise UserError(_refusal(self._host, self.port, error)) from error
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="observe", args=(0.1,), daemon=True)
        self._thread.start()
        log.info("observe_listening", host=self._host, port=self.port)

    def stop(self) -> None:
        """Stop listening; does nothing where it does not listen."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
        self._server = self._thread = None

    def __enter__(self) -> "ObserveServer":
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


def _refusal(host: str, port: int, error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return f"observe.host: {host!r} is no address of this machine; give 127.0.0.1"
    if error.errno == errno.EADDRINUSE:
        return f"observe.port: {port} is in use on {host}; end what listens there, or give another port"
    return f"observe.port: {host}:{port} cannot be listened on ({error.strerror}); give host 127.0.0.1 and a port above 1023"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a scraper that reads slowly does not hold up the end of the flow

    def __init__(self, host: str, port: int, metrics: FlowMetrics, health: Health) -> None:
        self.metrics, self.health = metrics, health
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        # Not HTTPServer's: that one asks the name service for its own name, which can take seconds.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.warning("observe_request_failed", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version, sys_version = "dynmm", ""
    timeout = _IDLE_SECONDS  # a client that sends nothing loses its thread

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._send_metrics()
        elif path == "/healthz":
            report = self.server.health.report()
            status = HTTPStatus.OK if report.ok else HTTPStatus.SERVICE_UNAVAILABLE
            self._send(status, "application/json", json.dumps(report.to_json()).encode() + b"\n")
        else:
            self._send(HTTPStatus.NOT_FOUND, "text/plain", b"there are /metrics and /healthz\n")

    def _send_metrics(self) -> None:
        metrics = self.server.metrics
        metrics.refresh()
        metrics.observe_health(self.server.health.report().state)
        encode, content_type = choose_encoder(self.headers.get("Accept", ""))
        self._send(HTTPStatus.OK, content_type, encode(metrics.registry))

    def _send(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a scrape every few seconds is no news."""
