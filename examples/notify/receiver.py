"""Receives the notifications of runs' ends, and prints each one once: `python3 receiver.py [--once] [PORT]`.

Nothing but Python is needed. The key is that of 3-secret.yaml, or what STROMBOLI_WEBHOOK_SIGNING_SECRET says.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

KEY = os.environ.get("STROMBOLI_WEBHOOK_SIGNING_SECRET", "the-key-of-the-example").encode()
FRESH = 300  # seconds; an older request may be one that somebody has recorded
LARGEST = 1024 * 1024
delivered: set[str] = set()


class Receiver(BaseHTTPRequestHandler):
    timeout = 10  # seconds for a request

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", "0"))
        body = self.rfile.read(min(length, LARGEST))
        if not self.is_signed(body):
            self.answer(401)
            return
        # A notification whose acceptance got lost comes again, with the same identifier.
        delivery = self.headers["X-Stromboli-Delivery"]
        if delivery not in delivered:
            delivered.add(delivery)
            print(body.decode(), flush=True)
        self.answer(204)

    def is_signed(self, body: bytes) -> bool:
        """Whether somebody who has the key has sent these bytes, and lately."""
        timestamp = self.headers.get("X-Stromboli-Timestamp", "")
        if not timestamp.isdecimal() or abs(time.time() - int(timestamp)) > FRESH:
            return False
        expected = hmac.new(KEY, f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
        return hmac.compare_digest(f"sha256={expected}", self.headers.get("X-Stromboli-Signature", ""))

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """No access log."""


if __name__ == "__main__":
    once = "--once" in sys.argv
    ports = [int(argument) for argument in sys.argv[1:] if argument.isdecimal()]
    with HTTPServer(("127.0.0.1", ports[0] if ports else 8099), Receiver) as server:
        while not (once and delivered):
            server.handle_request()
