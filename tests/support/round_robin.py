"""An address before several servers of the loopback, each of whose connections goes to the next of them, as a balancer's do."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit


@contextmanager
def balanced(urls: Sequence[str]) -> Iterator[str]:
    """The address, while it answers; a server that is gone breaks the connections that are its turn."""
    turns = itertools.cycle([(urlsplit(url).hostname, urlsplit(url).port) for url in urls])
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening, turns), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        finally:
            listening.shutdown(socket.SHUT_RDWR)


def serve(listening: socket.socket, turns: Iterator[tuple[str | None, int | None]]) -> None:
    """Hand out connections until the address is closed."""
    with suppress(OSError):
        while True:
            client, _ = listening.accept()
            try:
                server = socket.create_connection(next(turns))
            except OSError:
                client.close()
                continue
            threading.Thread(target=relay, args=(client, server), daemon=True).start()


def relay(client: socket.socket, server: socket.socket) -> None:
    """What either says goes to the other, until the server has said all."""
    with client, server:
        asking = threading.Thread(target=pump, args=(client, server), daemon=True)
        asking.start()
        pump(server, client)
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)
        asking.join()


def pump(one: socket.socket, other: socket.socket) -> None:
    """All that comes from one goes to the other."""
    with suppress(OSError):
        while content := one.recv(2**16):
            other.sendall(content)
    with suppress(OSError):
        other.shutdown(socket.SHUT_WR)
