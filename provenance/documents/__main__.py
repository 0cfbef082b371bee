"""``python -m provenance.documents FOLDER``: one JSON Schema file for each document."""

from __future__ import annotations

import sys
from pathlib import Path

from provenance.documents.registry import write_schemas

write_schemas(Path(sys.argv[1]))
