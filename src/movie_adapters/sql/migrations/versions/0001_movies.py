"""Movies by catalogue (the name of a source), with the title index."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    postgres = op.get_bind().dialect.name == "postgresql"
    op.create_table(
        "catalogues",
        sa.Column("number", sa.Integer(), primary_key=True),
        sa.Column("source", sa.Text(), nullable=False, unique=True),
        sa.Column("edition", sa.Text()),
        sa.Column("movies", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("sequence", _BIG, nullable=False, server_default="0", comment="of the movie added last"),
        sa.Column("revision", _BIG, nullable=False, server_default="0", comment="goes up with each change of movies"),
    )
    op.create_table(
        "movies",
        sa.Column("rank", _BIG, primary_key=True, autoincrement=False, comment="movie_adapters.title_order.movie_rank"),
        sa.Column("catalogue", sa.Integer(), sa.ForeignKey("catalogues.number"), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("year", sa.Integer()),
        sa.Column("popularity", sa.Double()),
        sa.Column("details", sa.Text(), nullable=False, comment="JSON of the other fields, empty ones left out"),
        sa.Column("names", sa.Text(), nullable=False, comment="movie_adapters.title_order.Entry.names"),
        sa.UniqueConstraint("catalogue", "id"),
    )
    last = " NULLS LAST" if postgres else ""  # SQLite has them last by itself
    for column in ("year", "popularity"):
        op.create_index(f"ix_movies_{column}", "movies", ["catalogue", sa.text(f"{column} DESC{last}"), "rank"])
    op.create_table(
        "movie_words",
        sa.Column("catalogue", sa.Integer(), sa.ForeignKey("catalogues.number"), primary_key=True),
        sa.Column("term", sa.Text(collation="C" if postgres else None), primary_key=True),
        sa.Column("movies", sa.Integer(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "movie_genres",
        sa.Column("catalogue", sa.Integer(), sa.ForeignKey("catalogues.number"), primary_key=True),
        sa.Column("name", sa.Text(collation="C" if postgres else None), primary_key=True),
        sa.Column("movies", sa.Integer(), nullable=False),
        sqlite_with_rowid=False,
    )
    if postgres:
        op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
        op.execute("ALTER TABLE movies ADD COLUMN terms tsvector NOT NULL")
        op.execute("CREATE INDEX ix_movies_terms ON movies USING gin (terms) WITH (fastupdate = off)")
        op.execute("CREATE INDEX ix_movie_words_trigrams ON movie_words USING gin (term gin_trgm_ops)")
    else:
        op.execute("CREATE INDEX ix_movie_words_tail ON movie_words (catalogue, substr(term, -2), term, movies)")
        # The terms are complete words already: only the marks that begin some of them must count as letters.
        op.execute(
            "CREATE VIRTUAL TABLE movie_index USING fts5 (terms, content='', detail=none, columnsize=0, "
            "prefix='1 2 3 4', tokenize=\"ascii tokenchars '=@#%_'\")"
        )


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.drop_table("movie_index")
    op.drop_table("movie_genres")
    op.drop_table("movie_words")
    op.drop_table("movies")
    op.drop_table("catalogues")
