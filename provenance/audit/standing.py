"""Which real images stand in the release themselves, in words: what the copies of an audit say of its membership."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from provenance.vocabulary import Label

if TYPE_CHECKING:
    from provenance.catalog import Catalog
    from provenance.records import AuditRecord

_COPIED = {Label.COPY: "as a whole", Label.PART_COPY: "in part"}


def copied_words(catalog: Catalog, audit: AuditRecord) -> str:
    """How many of the real images that an audit judged stand in its release as copies; '' where none does."""
    copies = catalog.standing_copies(audit.audit_id)
    found = Counter(copies[v.image_key].label for v in catalog.verdicts(audit.audit_id) if v.image_key in copies)
    if not found:
        return ""
    ways = [f"{found[label]:,} {how}" for label, how in _COPIED.items() if found[label]]
    stand = "stands" if found.total() == 1 else "stand"
    return f"{found.total():,} of the judged real images {stand} in the release as copies ({', '.join(ways)})"
