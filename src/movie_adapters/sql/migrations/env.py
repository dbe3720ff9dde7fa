"""Alembic environment. Uses the connection that `movie_adapters.sql.engine.migrate` passes."""

from alembic import context

from movie_adapters.sql.engine import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=True,  # also on SQLite, as our engine starts the transactions, not the driver
)
with context.begin_transaction():
    context.run_migrations()
