"""What a pod's preStop hook asks by HTTP, of servers on loopback."""

import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest

from lithify.engines.kubernetes.engine import call_hook


class _Handler(BaseHTTPRequestHandler):
    asked: list[str]
    ended: threading.Event

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200)
        self.end_headers()
        try:
            while self.path == "/endless":
                self.wfile.write(bytes(1 << 16))
        except OSError:
            self.ended.set()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    members = {"asked": [], "ended": threading.Event()}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), members))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def stop(get: dict[str, Any]) -> None:
    """Call the hook of a container that is to end."""
    call_hook(get, {"name": "app"}, "127.0.0.1", 5.0)


def test_an_answer_without_an_end_is_not_read_to_it(server: ThreadingHTTPServer) -> None:
    stop({"path": "/endless", "port": server.server_address[1]})
    assert cast(Any, server.RequestHandlerClass).ended.wait(10)


def test_a_hook_that_nobody_could_call_is_passed_by(server: ThreadingHTTPServer) -> None:
    stop({"path": "/", "port": "no-such-name"})
    stop({"path": "/h\u00f6r-auf", "port": server.server_address[1]})
    stop({"path": "/a b", "port": server.server_address[1]})
    assert cast(Any, server.RequestHandlerClass).asked == []


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl makes a certificate")
def test_no_certificate_is_looked_at_as_by_the_kubelet(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    key, certificate = str(tmp_path / "key"), str(tmp_path / "certificate")
    words = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=other"]
    subprocess.run(["openssl", "req", *words, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    stop({"path": "/bye", "port": server.server_address[1], "scheme": "HTTPS"})
    assert cast(Any, server.RequestHandlerClass).asked == ["/bye"]
