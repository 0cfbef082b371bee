"""Rule ``copies``: which generated images, or pieces of them, are real ones again, of which, and how that is known."""

from provenance.audit.rules.copies.rule import CopiesRule

RULE = CopiesRule

__all__ = ["RULE", "CopiesRule"]
