"""An application behind a real server on a free port of this machine, for the time of a block."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import FastAPI

from web.server.listening import LIMITS, Limits, bind, server_of


@contextmanager
def running(
    app: FastAPI,
    limits: Limits = LIMITS,
    trusted_proxies: str = "",
    send_buffer: int | None = None,
    host: str = "127.0.0.1",
) -> Iterator[str]:
    """The server's address, without a slash at its end.

    Args:
        host: what is listened at, 127.0.0.1 among it.
        send_buffer: bytes of an answer that the system takes off the server's hands; None: as the system likes.
    """
    server = server_of(app, limits=limits, trusted_proxies=trusted_proxies)
    listener = bind(host, 0)
    if send_buffer is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    port = listener.getsockname()[1]
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(30)
