"""Imported ratings of people without accounts, which train the recommender."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "training_imports",
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("source", sa.Text(), nullable=False, index=True),
        sa.Column("state", sa.Text(), nullable=False, comment="writing, current or obsolete"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "training_movies",
        sa.Column("import_number", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("movie_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("import_number", "number", name="pk_training_movies"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "training_ratings",
        sa.Column("import_number", sa.Integer(), nullable=False),
        sa.Column("user_number", sa.Integer(), nullable=False),
        sa.Column("movie_number", sa.Integer(), nullable=False, comment="training_movies.number"),
        sa.Column("half_points", sa.SmallInteger(), nullable=False, comment="twice the rating"),
        sa.Column("rated_at", sa.BigInteger(), nullable=False, comment="seconds since 1970"),
        sa.PrimaryKeyConstraint("import_number", "user_number", "movie_number", name="pk_training_ratings"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    for table in ("training_ratings", "training_movies", "training_imports"):
        op.drop_table(table)
