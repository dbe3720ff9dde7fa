"""Events, the interactions that count for trends, and daily figures."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_BIG = sa.BigInteger()


def _user(*, primary_key: bool = False) -> sa.Column[str]:
    owner = sa.ForeignKey("users.id", ondelete="CASCADE")
    return sa.Column("user_id", sa.Text(), owner, index=True, primary_key=primary_key)


def upgrade() -> None:
    op.create_table(
        "events",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("source", sa.Text(), nullable=False, comment="name of the movie source, also below"),
        sa.Column("day", sa.Integer(), nullable=False, comment="days since 0000-12-31, in UTC, also below"),
        sa.Column("at", _BIG, nullable=False, comment="microseconds since 1970, also below"),
        sa.Column("kind", sa.Text(), nullable=False),
        _user(),
        sa.Column("movie_id", sa.Text()),
        sa.Column("query", sa.Text()),
        sa.Column("position", sa.Integer()),
        sa.Column("rating", sa.Float()),
        sa.Column("found", sa.Boolean()),
        sa.Column("times", sa.Integer(), nullable=False),
    )
    op.create_index("ix_events_source_day_user_id", "events", ["source", "day", "user_id"])
    is_click = sa.text("kind = 'click'")
    op.create_index("ix_events_clicks", "events", ["user_id", "at"], sqlite_where=is_click, postgresql_where=is_click)
    op.create_table(
        "deeds",
        sa.Column("source", sa.Text(), primary_key=True),
        sa.Column("day", sa.Integer(), primary_key=True),
        _user(primary_key=True),
        sa.Column("movie_id", sa.Text(), primary_key=True),
        sa.Column("kind", sa.Text(), primary_key=True),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.Column("at", _BIG, nullable=False),
        sa.Column("kept_at", _BIG, nullable=False),
    )
    op.create_table(
        "user_days",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        _user(),
        sa.Column("searches", _BIG, nullable=False),
        sa.Column("zero_results", _BIG, nullable=False),
        sa.Column("clicked_searches", _BIG, nullable=False),
        sa.Column("clicks", _BIG, nullable=False),
        sa.Column("placed_clicks", _BIG, nullable=False, comment="those that tell a position"),
        sa.Column("positions", _BIG, nullable=False, comment="their sum"),
        sa.Column("ratings", _BIG, nullable=False),
        sa.Column("first_search", _BIG),
        sa.Column("first_click", _BIG),
        sa.Column("click_after_search", _BIG, comment="the first at or after the first search of the day"),
        sa.Column("last_rating", _BIG),
    )
    op.create_index("ix_user_days_source_day", "user_days", ["source", "day"])
    op.create_table(
        "query_days",
        sa.Column("source", sa.Text(), primary_key=True),
        sa.Column("day", sa.Integer(), primary_key=True),
        sa.Column("query", sa.Text(), primary_key=True),
        sa.Column("searches", _BIG, nullable=False),
        sa.Column("users", _BIG, nullable=False),
        sa.Column("zero_results", _BIG, nullable=False),
        sa.Column("zero_users", _BIG, nullable=False),
    )
    op.create_table(
        "source_days",
        sa.Column("source", sa.Text(), primary_key=True),
        sa.Column("day", sa.Integer(), primary_key=True),
        *(
            sa.Column(name, _BIG, nullable=False)
            for name in ("attempts", "failures", "live", "fresh", "stale", "fallback")
        ),
    )
    op.create_table(
        "purges",
        sa.Column("source", sa.Text(), primary_key=True),
        sa.Column("before", sa.Integer(), nullable=False, comment="the first day whose events are kept"),
    )


def downgrade() -> None:
    for table in ("purges", "source_days", "query_days", "user_days", "deeds", "events"):
        op.drop_table(table)
