"""Count the requests that reach a server: a relay in front of it, which passes every byte on, and a hang-up too."""

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

_REQUEST = b"POST /v1/"
_BYTES = 65536


@contextmanager
def count_calls(url: str) -> Iterator[tuple[str, Callable[[], int]]]:
    """Run in front of a server for the duration of the context.

    Args:
        url: The server's base URL, such as `http://127.0.0.1:8000/v1`.

    Yields:
        The base URL to ask in its place, and a function that gives how many requests have come so far.
    """
    parts = urlsplit(url)
    seen: list[int] = []

    class Relay(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection((parts.hostname, parts.port or 80)) as server:
                back = threading.Thread(target=_pass_on, args=(server, self.request, None), daemon=True)
                back.start()
                _pass_on(self.request, server, seen)
                back.join()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Relay) as relay:
        relay.daemon_threads = True
        threading.Thread(target=relay.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{relay.server_address[1]}{parts.path}", lambda: sum(seen)
        relay.shutdown()


def _pass_on(source: socket.socket, target: socket.socket, seen: list[int] | None) -> None:
    """Pass on until one side hangs up; count the requests that begin, also where one comes in two parts."""
    rest = b""
    with suppress(OSError):
        while data := source.recv(_BYTES):
            if seen is not None:
                rest += data
                seen.append(rest.count(_REQUEST))
                rest = rest[-len(_REQUEST) + 1 :]
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
