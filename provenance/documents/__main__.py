"""``python -m provenance.documents FOLDER``: one JSON Schema file for each document; the folder is made."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from provenance.documents.registry import DOCUMENTS, schema_file, schema_of

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
for command in DOCUMENTS:
    text = json.dumps(schema_of(command), indent=2) + "\n"
    (folder / schema_file(command)).write_text(text, encoding="utf-8")
