"""A PostgreSQL that answers and then falls silent is given up in time; one that works long is waited for."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest
from refusals import CATALOG, refused
from sqlalchemy import make_url, text

from provenance.catalog import Catalog, silence
from provenance.catalog.engine import hold, let_work, opened, parse_url
from provenance.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from children import Children
    from sqlalchemy import Engine

pytestmark = pytest.mark.postgres
BIG = text("SELECT repeat('x', 1000) FROM generate_series(1, 100000)")


class Proxy:
    """Passes bytes on to a server, until it is told to keep them: of all connections, or of those that are there."""

    def __init__(self, server: tuple[str, int]) -> None:
        self._server = server
        self._stop, self._is_silent = threading.Event(), [False]
        self._room = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._threads = [threading.Thread(target=self._serve)]
        self._threads[0].start()

    def close(self) -> None:
        self._stop.set()
        self._listening.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)

    def fall_silent(self, *, after_bytes: int = 0, also_new: bool) -> None:
        self._room = after_bytes
        self._is_silent[0] = True
        if not also_new:
            self._is_silent = [False]  # of those that come from now on

    def _serve(self) -> None:
        with self._listening, contextlib.suppress(OSError):
            while True:
                client, server = self._listening.accept()[0], socket.create_connection(self._server)
                for ends in ((client, server), (server, client)):
                    self._threads.append(threading.Thread(target=self._pass_on, args=(*ends, self._is_silent)))
                    self._threads[-1].start()

    def _pass_on(self, source: socket.socket, target: socket.socket, is_silent: list[bool]) -> None:
        with source, contextlib.suppress(OSError):
            while data := source.recv(4096):
                self._room -= len(data) * is_silent[0]
                if is_silent[0] and self._room < 0:
                    self._stop.wait(60)
                    break
                target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy(postgres_url: str) -> Iterator[Proxy]:
    url = make_url(postgres_url)
    made = Proxy((url.host or "127.0.0.1", url.port or 5432))
    yield made
    made.close()


@pytest.fixture
def way(proxy: Proxy, postgres_url: str) -> str:
    """The URL through the proxy."""
    url = make_url(postgres_url).set(host="127.0.0.1", port=proxy.port)
    return url.update_query_dict({"connect_timeout": "2"}).render_as_string(hide_password=False)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server may be silent for 0.4 s before it is asked."""
    monkeypatch.setattr(silence, "SILENT_FACTOR", 0.2)


def _ask_when_silent(engine: Engine, fall_silent: Callable[[], None]) -> None:
    with engine.connect() as connection:
        assert connection.execute(text("SELECT 1")).scalar() == 1
        fall_silent()
        connection.execute(BIG)


@pytest.mark.parametrize("also_new", [True, False], ids=["server", "connection"])
@pytest.mark.parametrize("after_bytes", [0, 300_000], ids=["before", "within"])
@pytest.mark.usefixtures("impatient")
def test_silence_before_an_answer_and_within_one_is_given_up(
    proxy: Proxy, way: str, after_bytes: int, *, also_new: bool
) -> None:
    """The whole server, or only the answer to this connection while others are served."""
    started = time.monotonic()
    with pytest.raises(CatalogError) as caught, opened(parse_url(way)) as engine:
        _ask_when_silent(engine, lambda: proxy.fall_silent(after_bytes=after_bytes, also_new=also_new))
    assert f"127.0.0.1:{proxy.port}" in caught.value.message
    assert "does not answer: no answer from 127.0.0.1 for" in caught.value.message
    assert "(limit 0 s)" in caught.value.message
    assert "connect_timeout" in caught.value.hint
    assert time.monotonic() - started < 15


@pytest.mark.usefixtures("impatient")
def test_work_is_waited_for_however_long_and_so_is_another_writer(way: str) -> None:
    """Many times as long as a server may be silent: a slow statement, a lock, and the server's own limit lifted."""
    with opened(parse_url(way)) as engine, engine.connect() as one, engine.connect() as other:
        one.exec_driver_sql("SET statement_timeout = 1000")
        let_work(one)
        assert one.execute(text("SELECT 7 FROM pg_sleep(2.5)")).scalar() == 7
        hold(one, alone=True)
        threading.Timer(1.5, one.rollback).start()
        started = time.monotonic()
        hold(other, alone=True)
        assert time.monotonic() - started > 1.2


@pytest.mark.usefixtures("impatient")
def test_a_statement_beyond_the_servers_own_limit_is_no_work(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was stopped in the middle says for ever that it is at work."""
    monkeypatch.setattr(silence, "_GRACE_SECONDS", 0.0)
    with opened(parse_url(way)) as engine, engine.connect() as connection:
        connection.connection.driver_connection.statement_seconds = 0.5  # type: ignore[union-attr]
        with pytest.raises(Exception, match="no answer from"):
            connection.execute(text("SELECT pg_sleep(30)"))


def test_a_command_says_which_database_is_silent(children: Children, proxy: Proxy, way: str, workspace: Path) -> None:
    """As for a database that is not there, and the next command goes on."""
    Catalog.open(way, create=True).close()
    proxy.fall_silent(also_new=True, after_bytes=400)  # enough to be let in
    ended = children.run("-w", workspace, "sets", "list", environment={"PROVENANCE_CATALOG_URL": way})
    refused(ended, CATALOG, f"127.0.0.1:{proxy.port}", "no answer", "connect_timeout")
