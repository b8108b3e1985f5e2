"""Asking a running nats-server: the INFO greeting and the monitoring endpoint.

Blocking and small on purpose: supervisors, command lines and fixtures use it where no event loop runs, and
nothing of it goes through a proxy from the environment. Every timeout is in seconds.
"""

import errno
import http.client
import socket
from typing import Any, cast

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json


class ServerInfo(BaseModel):
    """The part of a server's INFO greeting that tells who it is."""

    server_id: str
    server_name: str
    version: str
    host: str
    port: int
    jetstream: bool = False
    auth_required: bool = False
    tls_required: bool = False


def read_info(host: str, port: int, timeout: float = 1.0) -> ServerInfo | None:
    """What answers on the client port introduces itself as; None when nothing, or no NATS server, answers."""
    try:
        with socket.create_connection((host, port), timeout=timeout) as connection:
            if connection.getsockname() == connection.getpeername():
                return None  # the kernel connected us to ourselves: nobody listens
            received = b""
            while b"\r\n" not in received and len(received) < 65536:
                chunk = connection.recv(4096)
                if not chunk:
                    return None
                received += chunk
    except OSError:
        return None
    line = received.split(b"\r\n", 1)[0]
    if not line.startswith(b"INFO "):
        return None
    try:
        return ServerInfo.model_validate_json(line[5:])
    except ValidationError:
        return None


def read_monitor(host: str, port: int, path: str, timeout: float = 1.0) -> dict[str, Any] | None:
    """A page of the monitoring endpoint (``/varz``, ``/healthz``, ``/jsz`` …); None when it does not answer."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("GET", path)
        body = connection.getresponse().read()
        page = from_json(body)
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    return cast("dict[str, Any]", page) if isinstance(page, dict) else None


def is_healthy(host: str, port: int, timeout: float = 1.0) -> bool:
    """Whether the server says that it is well: listening, and its streams and consumers recovered."""
    page = read_monitor(host, port, "/healthz", timeout)
    return page is not None and page.get("status") == "ok"


def address_in_use(host: str, port: int) -> bool:
    """Whether something else holds this TCP address right now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As nats-server does: an address whose last connections are only winding down is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except PermissionError:
            raise
        except OSError as error:
            return error.errno == errno.EADDRINUSE  # an address that is not this machine's the server itself names
    return False
