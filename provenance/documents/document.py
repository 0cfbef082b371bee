"""What a document is: a frozen value with a schema, made from the values of the rooms."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, AliasPath, BaseModel, BeforeValidator, ConfigDict, Field


class Document(BaseModel):
    """A JSON object that leaves the system; its keys stand in the order of its fields.

    A field is read from the attribute of its name, or from where ``at`` says; a room's frozen value whose fields are
    all wanted is a field as it is. One with a default is left out where nothing was given.
    """

    model_config = ConfigDict(frozen=True, from_attributes=True, extra="forbid")

    @classmethod
    def of(cls, value: object = None, **more: Any) -> Self:
        """The document of a value: its attributes, and ``more`` facts that it does not have."""
        return cls.model_validate(_With(value, more))

    def to_json(self) -> dict[str, Any]:
        """It as JSON values."""
        names = {name: field.serialization_alias or name for name, field in type(self).model_fields.items()}
        return {names.get(name, name): plain(value) for name, value in self if name in self.model_fields_set}


class _With:
    def __init__(self, value: object, more: Mapping[str, Any]) -> None:
        self._value, self._more = value, more

    def __getattr__(self, name: str) -> Any:
        return self._more[name] if name in self._more else getattr(self._value, name)


def plain(value: Any) -> Any:
    """A value as JSON has it: times in UTC, words, paths, mappings and frozen values."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "to_json"):
        return value.to_json()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value


def at(*path: str | int, **field: Any) -> Any:
    """A field that is read from a path of attributes, such as ``at("dataset", "name")``."""
    return Field(validation_alias=AliasPath(str(path[0]), *path[1:]), **field)


Seconds = Annotated[float, AfterValidator(lambda seconds: round(seconds, 3))]
Counts = dict[str, int]
Number = Annotated[int, BeforeValidator(lambda given: given if isinstance(given, int) else len(given))]
Word = Annotated[str, "word"]
