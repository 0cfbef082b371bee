"""Every JSON shape that leaves the system, typed: what ``--json`` prints, other interfaces give, and attestations hold.

A family of shapes is a module here; each shape is a ``Document`` and is made from the rooms' values by ``of``. To add
one: write the class in its family's module, and name it in that module's ``DOCUMENTS`` under the command that prints
it. Then ``python -m provenance.documents docs/reference`` writes its JSON Schema; a test holds the files to the code,
and what the commands print to the files.
"""
