"""Column types that mean the same on SQLite and PostgreSQL."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, DateTime, Dialect, Integer, Text, TypeDecorator

from provenance.vocabulary import canonical_json

if TYPE_CHECKING:
    from sqlalchemy.types import TypeEngine

# Collation "C" orders text by code point, as SQLite and Python do: reports do not depend on the database.
TEXT = Text().with_variant(Text(collation="C"), "postgresql")
BIG_KEY = BigInteger().with_variant(Integer(), "sqlite")  # SQLite numbers only INTEGER keys by itself

# No database stores NUL or lone surrogates (Python's form of undecodable bytes in a file name); they are moved
# to the private plane 16 and back.
_PRIVATE_PLANE = 0x100000
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_MOVED = re.compile("[\U00100000\U0010d800-\U0010dfff]")


def storable(text: str) -> str:
    """``text`` with NUL and lone surrogates moved to the private plane; ``readable`` undoes it."""
    return _UNSTORABLE.sub(lambda found: chr(ord(found[0]) + _PRIVATE_PLANE), text)


def readable(text: str) -> str:
    """What ``storable`` was given."""
    return _MOVED.sub(lambda found: chr(ord(found[0]) - _PRIVATE_PLANE), text)


class OutsideText(TypeDecorator[str]):
    """Text that came from outside (names, paths, details): anything Python holds comes back as it was."""

    impl = TEXT
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Python to database."""
        return None if value is None else storable(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        """Database to Python."""
        return None if value is None else readable(value)


class Utc(TypeDecorator[datetime]):
    """A moment, UTC and timezone-aware: ISO text with microseconds on SQLite, timestamptz on PostgreSQL."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Text on SQLite, which has no type for moments; equal widths make text order time order."""
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Python to database.

        Raises:
            ValueError: If the moment has no time zone.
        """
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a time zone")
        moment = value.astimezone(UTC)
        return moment.isoformat(timespec="microseconds") if dialect.name == "sqlite" else moment

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Database to Python."""
        if value is None:
            return None
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        return moment.astimezone(UTC)


class Json(TypeDecorator[Any]):
    """JSON values as canonical text: equal values are equal text, and digests of it stay checkable."""

    impl = TEXT
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Python to database."""
        return None if value is None else storable(canonical_json(value))

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        """Database to Python."""
        return None if value is None else json.loads(readable(value))
