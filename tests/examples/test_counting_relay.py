"""Requests are counted on their way to a server, and all else is left as it is."""

import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from examples.counting_relay import count_calls


class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.send_error(404)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_address[1]}/v1"
        served.shutdown()


def test_every_post_counts_once_and_its_bytes_come_back(server):
    with count_calls(server) as (url, calls):
        assert calls() == 0
        bodies = [b"x", "\u0440\u0432\u043e\u0442\u0430".encode() * 50_000, b"POST"]
        for number, body in enumerate(bodies, 1):
            with urllib.request.urlopen(f"{url}/chat/completions", data=body, timeout=30) as reply:
                assert reply.read() == body
            assert calls() == number
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{url}/models", timeout=30)
        assert calls() == len(bodies)


def test_calls_side_by_side_are_all_counted(server):
    def ask():
        urllib.request.urlopen(f"{url}/completions", data=b"a" * 1000, timeout=30).read()

    with count_calls(server) as (url, calls):
        callers = [threading.Thread(target=ask) for _ in range(20)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        assert calls() == 20
