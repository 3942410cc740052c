"""Serves notes over HTTP: PUT and GET /NAME, POST /tidy."""

import os
import sqlite3
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import storage


class Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"

    def answer(self, status: int, text: str) -> None:
        """Send a short text."""
        body = f"{text}\n".encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def attempt(self, work) -> None:
        """Answer what `work` returns, or the database's complaint."""
        try:
            found = work()
        except sqlite3.Error as error:
            print(f"sqlite: {error}", flush=True)
            self.answer(500, str(error))
        else:
            self.answer(404, "no such note") if found is None else self.answer(200, str(found))

    def body(self) -> str:
        """Read what the client sends."""
        return self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()

    def do_GET(self) -> None:
        """Return a note."""
        self.attempt(lambda: storage.get(self.path[1:]))

    def do_PUT(self) -> None:
        """Keep a note."""
        body = self.body()
        self.attempt(lambda: storage.put(self.path[1:], body) or "kept")

    def do_POST(self) -> None:
        """Tidy up."""
        self.body()
        self.attempt(storage.tidy)

    def log_message(self, *_: object) -> None:
        """Say nothing about each request."""


if __name__ == "__main__":
    storage.create()
    print(f"notes are in {storage.DATABASE}", flush=True)
    ThreadingHTTPServer(("", int(os.environ.get("PORT", "8000"))), Handler).serve_forever()
