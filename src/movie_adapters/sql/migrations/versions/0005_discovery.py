"""Trend strengths and counts, personal orders, and trained models."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    postgres = op.get_bind().dialect.name == "postgresql"
    id_text = sa.Text(collation="C" if postgres else None)  # by which ties are broken, as Python compares
    op.create_table(
        "trend_lives",
        sa.Column("source", sa.Text(), primary_key=True),
        sa.Column("life", sa.BigInteger(), nullable=False, comment="when it began, in microseconds since 1970"),
        sa.Column("is_claimed", sa.Boolean(), nullable=False, comment="somebody fills it"),
        sa.Column("is_filled", sa.Boolean(), nullable=False),
        sa.Column("newest", sa.BigInteger(), comment="as life, of what was added"),
    )
    op.create_table(
        "trend_strengths",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("life", sa.BigInteger(), nullable=False),
        sa.Column("span", sa.Text(), nullable=False),
        sa.Column("movie_id", id_text, nullable=False),
        sa.Column("strength", sa.Double(), nullable=False, comment="S of movie_core.trending"),
        sa.PrimaryKeyConstraint("source", "life", "span", "movie_id", name="pk_trend_strengths"),
    )
    op.create_index("ix_trend_strengths_strength", "trend_strengths", ["source", "life", "span", "strength"])
    op.create_table(
        "trend_counts",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("life", sa.BigInteger(), nullable=False),
        sa.Column("span", sa.Text(), nullable=False),
        sa.Column("movie_id", id_text, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("bucket", sa.Integer(), nullable=False, comment="hours or UTC days since 1970, as its span counts"),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("source", "life", "span", "movie_id", "kind", "bucket", name="pk_trend_counts"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_trend_counts_bucket", "trend_counts", ["source", "life", "span", "bucket"])
    op.create_table(
        "kept_orders",
        sa.Column("user_id", sa.Text(), sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("hashed", sa.Text(), nullable=False, comment="of its key"),
        sa.Column("body", sa.Text(), nullable=False, comment="JSON of the key and the ids of the movies"),
        sa.Column("kept_at", sa.DateTime(timezone=True), nullable=False, index=True),
        sa.PrimaryKeyConstraint("user_id", "source", "hashed", name="pk_kept_orders"),
    )
    op.create_table(
        "models",
        sa.Column("source", sa.Text(), primary_key=True),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.Text(), nullable=False, comment="of what it was made from"),
        sa.Column("ratings", sa.BigInteger(), nullable=False),
        sa.Column("users", sa.BigInteger(), nullable=False),
        sa.Column("movies", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "model_parts",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("source", "part", name="pk_model_parts"),
    )


def downgrade() -> None:
    for table in ("model_parts", "models", "kept_orders", "trend_counts", "trend_strengths", "trend_lives"):
        op.drop_table(table)
