"""Asks ports of a container, from the host that its address can be reached from."""

import http.client
import socket
import ssl
from contextlib import closing
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A plain GET."""

    address: str
    port: int
    path: str
    headers: tuple[tuple[str, str], ...] = ()
    secure: bool = False
    verified: bool = False
    """Its certificate has to be one that holds for the address."""

    def __str__(self) -> str:
        return f"{'https' if self.secure else 'http'}://{self.address}:{self.port}{self.path}"


def request(wanted: Request, timeout: float) -> tuple[int, str]:
    """Return the status of the answer; 0, and why, where there is none."""
    connection: http.client.HTTPConnection
    if wanted.secure:
        context = ssl.create_default_context()
        if not wanted.verified:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(wanted.address, wanted.port, timeout=timeout, context=context)
    else:
        connection = http.client.HTTPConnection(wanted.address, wanted.port, timeout=timeout)
    with closing(connection):
        try:
            connection.request("GET", wanted.path, headers=dict(wanted.headers))
            status = connection.getresponse().status  # an answer may go on without end
        except (OSError, ValueError, http.client.HTTPException) as error:
            return 0, str(getattr(error, "strerror", None) or error or type(error).__name__)
    return status, ""


def connect(address: str, port: int, timeout: float) -> str:
    """Return why a TCP port takes no connection; nothing where it does."""
    try:
        socket.create_connection((address, port), timeout).close()
    except OSError as error:
        return error.strerror or str(error) or type(error).__name__
    return ""


def hear(address: str, port: int, timeout: float) -> str:
    """Return in a few words what a TCP port says to a plain HTTP request."""
    try:
        with socket.create_connection((address, port), timeout) as connection:
            connection.settimeout(timeout)
            connection.sendall(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
            data = connection.recv(256)
    except TimeoutError:
        return "accepts, says nothing"
    except ConnectionResetError:
        return "accepts, closes"
    except OSError as error:
        return f"does not accept: {error.strerror or error}"
    first = data.split(b"\r\n", 1)[0].split(b"\n", 1)[0][:60].decode("latin-1")
    return first if data else "accepts, closes"
