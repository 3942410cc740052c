"""The standard streams of a command that runs in a pod, over the WebSocket that Kubernetes gives for them."""

import time
from typing import Any

from lithify.errors import EngineUnreachable
from lithify.model.path import printable

INPUT, OUTPUT, ERRORS, STATUS = range(4)
"""The channels that come and go on one connection."""
_QUIET = 20.0
"""Seconds without a word after which a sign of life keeps balancers on the way from cutting a connection."""
_FRAME = 1 << 15
_SEND = 60.0
"""Seconds in which the other side has to take a frame."""


class Streams:
    """An open connection, for one thread at a time; whoever has it closes it."""

    def __init__(self, socket: Any, server: str, pod: str) -> None:
        self._socket = socket
        self._server = server
        self._pod = pod

    def receive(self, deadline: float) -> tuple[int, bytes] | None:
        """Return what comes next and on which channel; None once the other side has said goodbye.

        TimeoutError where nothing came by `deadline` (of the monotonic clock), EngineUnreachable where the connection
        is gone.
        """
        import websocket

        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            try:
                self._socket.settimeout(min(left, _QUIET))
                opcode, frame = self._socket.recv_data_frame(True)
            except websocket.WebSocketTimeoutException:
                self.ping()
                continue
            except (OSError, websocket.WebSocketException) as error:
                raise self._dropped(error) from error
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                return None
            if opcode in (websocket.ABNF.OPCODE_TEXT, websocket.ABNF.OPCODE_BINARY) and frame.data:
                return frame.data[0], frame.data[1:]

    def send(self, data: bytes) -> None:
        """Give the command something to read."""
        import websocket

        try:
            self._socket.settimeout(_SEND)
            for start in range(0, len(data), _FRAME):
                self._socket.send_binary(bytes((INPUT,)) + data[start : start + _FRAME])
        except (OSError, websocket.WebSocketException) as error:
            raise self._dropped(error) from error

    def ping(self) -> None:
        """Give a sign of life."""
        import websocket

        try:
            self._socket.ping()
        except (OSError, websocket.WebSocketException) as error:
            raise self._dropped(error) from error

    def close(self) -> None:
        """Close it: a command that reads comes to the end of its input."""
        self._socket.shutdown()  # `close` leaves the descriptor open where the server has said goodbye already

    def _dropped(self, error: BaseException) -> EngineUnreachable:
        return EngineUnreachable(
            f"{self._server} dropped the connection to {printable(self._pod)}: {printable(str(error))}",
            hint="does the pod still run?",
        )
