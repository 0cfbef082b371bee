"""A relay of TCP before a server, whichever it is, that does what networks do: hang, cut, refuse; and counts bytes."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self

from hpack import Decoder


class Wire:
    """Listens on this machine and passes everything on to ``port`` there, until told otherwise.

    ``refuse`` is a server that isn't there (its connections are reset), ``hang`` a network that lost its way: what is
    sent arrives nowhere, and new connections are taken and left. ``resume`` ends both; what was held back goes on.
    ``cut(n)`` resets every connection once n more bytes of answers have gone by. Of ``http2`` the headers of each
    request are kept.
    """

    def __init__(self, port: int, *, http2: bool = False) -> None:
        self.http2 = http2
        self.headers: list[dict[str, str]] = []
        self.target = ("127.0.0.1", port)
        self.answered_bytes = 0
        self._left: int | None = None
        self._lock = threading.Lock()
        self._flowing = threading.Event()
        self._flowing.set()
        self._open: set[socket.socket] = set()
        self._listening = self._listen(0)
        self.port: int = self._listening.getsockname()[1]

    def cut(self, after: int = 0) -> None:
        """See the class."""
        with self._lock:
            self._left = after

    def hang(self) -> None:
        """See the class."""
        self._flowing.clear()

    def refuse(self) -> None:
        """See the class."""
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._reset()

    def resume(self) -> None:
        """See the class."""
        self._flowing.set()
        if self._listening.fileno() < 0:
            self._listening = self._listen(self.port)

    def close(self) -> None:
        """Ends all connections."""
        self.refuse()
        self._flowing.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _listen(self, port: int) -> socket.socket:
        listening = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, args=(listening,), daemon=True).start()
        return listening

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                near, _ = listening.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self.target)
            except OSError:
                _reset(near)
                continue
            self._open |= {near, far}
            threading.Thread(target=self._pass_on, args=(near, far, False), daemon=True).start()
            threading.Thread(target=self._pass_on, args=(far, near, True), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        reader = None if answers or not self.http2 else _Headers(self.headers)
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if reader is not None:
                    reader.read(data)
                self._flowing.wait()
                allowed = self._allowed(len(data)) if answers else len(data)
                sink.sendall(data[:allowed])
                if allowed < len(data):
                    self._reset()
                    return
            sink.shutdown(socket.SHUT_WR)

    def _allowed(self, wanted: int) -> int:
        with self._lock:
            allowed = wanted if self._left is None else min(self._left, wanted)
            if self._left is not None:
                self._left = None if allowed < wanted else self._left - allowed
            self.answered_bytes += allowed
        return allowed

    def _reset(self) -> None:
        connections, self._open = self._open, set()
        for connection in connections:
            _reset(connection)


class _Headers:
    """Reads the headers of requests out of one connection of HTTP/2."""

    PREFACE_BYTES, FRAME_BYTES, HEADERS, PADDED, PRIORITY = 24, 9, 1, 0x8, 0x20

    def __init__(self, found: list[dict[str, str]]) -> None:
        self.found, self.decoder, self.left, self.skip = found, Decoder(), b"", self.PREFACE_BYTES

    def read(self, data: bytes) -> None:
        self.left += data
        if self.skip and len(self.left) >= self.skip:
            self.left, self.skip = self.left[self.skip :], 0
        while not self.skip and len(self.left) >= self.FRAME_BYTES:
            end = self.FRAME_BYTES + int.from_bytes(self.left[:3], "big")
            if len(self.left) < end:
                return
            kind, flags, body = self.left[3], self.left[4], self.left[self.FRAME_BYTES : end]
            self.left = self.left[end:]
            if kind == self.HEADERS:
                padding = body[0] if flags & self.PADDED else 0
                start = bool(flags & self.PADDED) + 5 * bool(flags & self.PRIORITY)
                self.found.append(dict(self.decoder.decode(body[start : len(body) - padding])))


def _reset(connection: socket.socket) -> None:
    """Ends a connection as a machine does that lost its power: at once, for both sides."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
