"""The greatest similarities of every judged image with their images: the seed paper's table behind its figure 2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provenance.exports.audits import audit_records
from provenance.files import write_csv
from provenance.vocabulary import Role

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from provenance.installation import Installation
    from provenance.records import AuditRecord

_ROLES = (Role.USED, Role.NOT_USED, Role.AGAINST, Role.RELEASE)
SIMILARITY_COLUMNS = (
    "subject_id",
    "name",
    "role",
    *(form.format(role.value) for role in _ROLES for form in ("s_{}", "nearest_{}_id", "nearest_{}_name")),
)
"""For each role S, its nearest image's id and name: ``s_used`` is S_u, ``s_not_used`` S_n, ``s_release`` S(r)."""


def similarity_rows(workspace: Installation, audit: AuditRecord) -> Iterator[dict[str, Any]]:
    """One row a judged image, in image_id order, with columns ``SIMILARITY_COLUMNS``.

    A generated image has a similarity for each role of the audit's sets, a real one for the release alone; the others
    are ``None``. They are cosines, whatever rule judged.
    """
    for record in audit_records(workspace, audit):
        row = {name: record.get(name) for name in ("subject_id", "name", "role")}
        nearest = {neighbor["role"]: neighbor for neighbor in record["neighbors"] if neighbor["rank"] == 1}
        for role in _ROLES:
            found = nearest.get(role.value, {})
            row[f"s_{role.value}"] = found.get("similarity")
            row[f"nearest_{role.value}_id"] = found.get("image_id")
            row[f"nearest_{role.value}_name"] = found.get("name")
        yield row


def export_similarities(workspace: Installation, audit: AuditRecord, target: Path) -> int:
    """Write ``similarity_rows`` as CSV (see ``write_csv``); gives the number of rows."""
    return write_csv(target, SIMILARITY_COLUMNS, similarity_rows(workspace, audit))
