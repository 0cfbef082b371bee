"""Which document each command prints, and their JSON Schemas."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from provenance.documents import audits, datasets, demo, exports, images, ingests, keeping, measures

_FAMILIES = (ingests, datasets, images, keeping, audits, exports, measures, demo)
DOCUMENTS: dict[str, Any] = {command: shape for family in _FAMILIES for command, shape in family.DOCUMENTS.items()}


class _Schema(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def dataclass_schema(self, schema: Any) -> dict[str, Any]:
        found = super().dataclass_schema(schema)
        return found | {"required": list(found["properties"]), "additionalProperties": False}


def schema_of(command: str) -> dict[str, Any]:
    """The JSON Schema of what ``command --json`` prints (``watch``: of each of its lines)."""
    schema = TypeAdapter(DOCUMENTS[command]).json_schema(mode="serialization", schema_generator=_Schema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$comment": f"provenance {command}"} | schema


def schema_file(command: str) -> str:
    """The name of its file."""
    return command.replace(" ", "-") + ".json"
