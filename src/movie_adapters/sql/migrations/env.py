"""How Alembic runs the history: over the connection that `movie_adapters.sql.engine.migrate` hands it."""

from alembic import context

from movie_adapters.sql.engine import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=True,  # SQLite too, as its connection begins its transactions itself
)
with context.begin_transaction():
    context.run_migrations()
