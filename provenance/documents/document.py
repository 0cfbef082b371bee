"""What a document is: a frozen value with a schema, made from the values of the rooms."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import AfterValidator, AliasPath, BaseModel, ConfigDict, Field, PlainSerializer


class Document(BaseModel):
    """A JSON object that leaves the system; its keys stand in the order of its fields.

    A field is read from the attribute of its name, or from where ``at`` says. One with a default is left out where
    nothing was given.
    """

    model_config = ConfigDict(
        frozen=True, from_attributes=True, extra="forbid", ser_json_inf_nan="constants", serialize_by_alias=True
    )

    @classmethod
    def of(cls, value: object = None, **more: Any) -> Self:
        """The document of a value: its attributes, and ``more`` facts that it does not have."""
        return cls.model_validate(_With(value, more))

    def to_json(self) -> dict[str, Any]:
        """It as JSON values."""
        return self.model_dump(mode="json", exclude_unset=True)


class _With:
    def __init__(self, value: object, more: Mapping[str, Any]) -> None:
        self._value, self._more = value, more

    def __getattr__(self, name: str) -> Any:
        return self._more[name] if name in self._more else getattr(self._value, name)


def at(*path: str | int, **field: Any) -> Any:
    """A field that is read from a path of attributes, such as ``at("dataset", "name")``."""
    return Field(validation_alias=AliasPath(str(path[0]), *path[1:]), **field)


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()


Moment = Annotated[
    datetime, PlainSerializer(_utc, when_used="unless-none"), Field(json_schema_extra={"format": "date-time"})
]
Seconds = Annotated[float, AfterValidator(lambda seconds: round(seconds, 3))]
Counts = dict[str, int]
