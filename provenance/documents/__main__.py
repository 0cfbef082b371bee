"""``python -m provenance.documents FOLDER``: one JSON Schema file a document, and the glossary; the folder is made."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from provenance.documents.registry import DOCUMENTS, schema_file, schema_of
from provenance.glossary import as_markdown

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
for command in DOCUMENTS:
    text = json.dumps(schema_of(command), indent=2) + "\n"
    (folder / schema_file(command)).write_text(text, encoding="utf-8")
(folder / "glossary.md").write_text(as_markdown(), encoding="utf-8")
