"""A PostgreSQL that falls silent: how long it is waited for, and how that is told from long work.

A statement may rightly take hours. So when nothing has come for a while the server is asked, on a second connection,
what the first one does. It is given up when that is not answered either, or when the server says that it waits for us:
then the statement or its answer was lost on the way.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.errors import ConnectionTimeout
from psycopg.pq import TransactionStatus

from provenance.logs import SAID_AFTER_SECONDS, Waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

CONNECT_TIMEOUT_SECONDS = 10
SILENT_FACTOR = 2
"""A server may be silent for so many times as long as connecting may take before it is asked what it does."""
_GRACE_SECONDS = 60.0
_AGAIN_FACTOR = 0.1  # of that limit, until it is asked once more before it is given up
_TCP = {  # a host that is gone, and a way that is cut; what is never answered is given up, too
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
_STATE = "SELECT state LIKE 'idle%%' OR wait_event_type = 'Client' FROM pg_stat_activity WHERE pid = %s"


class Watched(psycopg.Connection[Any]):
    """A connection whose server may be silent only while it is at work."""

    statement_seconds = math.inf
    """The server's own limit of a statement: silent much longer than this, it hangs, whatever it says."""
    _limit_seconds = math.inf
    _waiting = Waiting(str)
    _asks: Callable[[], Watched] | None = None

    def wait(self, gen: Generator[Any, int, Any], *args: Any, **kwargs: Any) -> Any:
        """As the driver does, which calls this for whatever it sends or reads."""
        try:
            return super().wait(self._watching(gen), *args, **kwargs)
        except KeyboardInterrupt:
            if self.info.transaction_status == TransactionStatus.ACTIVE:  # the driver could not call it off
                self.pgconn.finish()
            raise

    def _watching(self, steps: Generator[Any, int, Any]) -> Generator[Any, int, Any]:
        since = time.monotonic()
        ask_at, lost = since + self._limit_seconds, 0
        try:
            wanted = next(steps)
            while True:
                ready = yield wanted
                now = time.monotonic()
                if ready:
                    self._waiting.over()
                    since, ask_at, lost = now, now + self._limit_seconds, 0
                elif now > ask_at:
                    lost = 0 if self._is_at_work(now - since) else lost + 1
                    if lost == 2 or not self._asks:
                        self._give_up(now - since)
                    ask_at = time.monotonic() + self._limit_seconds * (_AGAIN_FACTOR if lost else 1)
                elif now - since > SAID_AFTER_SECONDS:
                    self._waiting.say()
                wanted = steps.send(ready)
        except StopIteration as done:
            return done.value
        finally:
            steps.close()

    def _is_at_work(self, silent_seconds: float) -> bool:
        """Whether the server says so; one that we see only through a pooler is believed if it answers at all."""
        if self._asks is None or silent_seconds > self.statement_seconds + _GRACE_SECONDS:
            return False
        try:
            with self._asks() as other:
                found = other.execute(_STATE, (self.info.backend_pid,)).fetchone()
        except psycopg.OperationalError as error:
            return "FATAL" in str(error)  # the server answers, if only that it has no place for another connection
        return found is None or not found[0]

    def _give_up(self, silent_seconds: float) -> None:
        said = f"no answer from {self.info.host} for {silent_seconds:.0f} s (limit {self._limit_seconds:.0f} s)"
        self.pgconn.finish()
        raise psycopg.OperationalError(f"{said}, and it is not at work")


def connect(place: str, arguments: Any, settings: dict[str, Any]) -> Watched:
    """A connection that is watched.

    Args:
        place: The database, for messages.
        arguments: Of the driver's ``connect``, as are ``settings``; limits that they name stay.
        settings: ``connect_timeout`` also says how long the server may be silent: ``SILENT_FACTOR`` times as long.

    Raises:
        psycopg.Error: If there is no connection; also where the server does not answer in time.
    """
    settings = {"connect_timeout": CONNECT_TIMEOUT_SECONDS, **_TCP, **settings}
    waiting = Waiting(lambda: f"waiting for the database at {place} (given up where it hangs; Ctrl-C stops)")
    try:
        with waiting.said_if_slow():
            connection = Watched.connect(*arguments, **settings)
    except ConnectionTimeout as error:
        raise ConnectionTimeout(f"no answer within {settings['connect_timeout']} s") from error
    seconds = max(2.0, float(settings["connect_timeout"]))

    def ask() -> Watched:
        same = {"host": connection.info.host, "port": connection.info.port}
        other = Watched.connect(*arguments, **{**settings, **same}, autocommit=True)
        other._limit_seconds = seconds
        return other

    connection._limit_seconds, connection._asks, connection._waiting = SILENT_FACTOR * seconds, ask, waiting
    return connection
