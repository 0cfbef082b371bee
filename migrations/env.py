"""How alembic runs the migrations: over the connection (and inside the transaction) it is handed."""

from __future__ import annotations

from alembic import context

from provenance.catalog.tables import Base

connection = context.config.attributes.get("connection")
if connection is None:
    raise RuntimeError("migrations run through `provenance db upgrade`, which hands them a connection")

context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    transactional_ddl=True,  # SQLite can, once its driver leaves transactions to us
    render_as_batch=True,  # SQLite alters a table by rebuilding it; a rebuild must make its triggers anew
)
with context.begin_transaction():
    context.run_migrations()
