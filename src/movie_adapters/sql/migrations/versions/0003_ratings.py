"""Ratings of users, and the indexes that match rows of imported files to movies."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    postgres = op.get_bind().dialect.name == "postgresql"
    op.create_table(
        "ratings",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("movie_id", sa.Text(collation="C" if postgres else None), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("year", sa.Integer()),
        sa.Column("rating", sa.Double(), nullable=False),
        sa.Column("rated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "source", "movie_id", name="pk_ratings"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_ratings_user_id", ondelete="CASCADE"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "rating_versions",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column(
            "changes", sa.BigInteger(), nullable=False, comment="transactions that changed a rating of the source"
        ),
        sa.PrimaryKeyConstraint("source", name="pk_rating_versions"),
    )
    for name in ("imdb_id", "tmdb_id"):
        told = f"(details::json ->> '{name}')" if postgres else f"json_extract(details, '$.{name}')"
        op.execute(f"CREATE INDEX ix_movies_{name} ON movies (catalogue, {told}) WHERE {told} IS NOT NULL")


def downgrade() -> None:
    for name in ("imdb_id", "tmdb_id"):
        op.drop_index(f"ix_movies_{name}")
    op.drop_table("rating_versions")
    op.drop_table("ratings")
