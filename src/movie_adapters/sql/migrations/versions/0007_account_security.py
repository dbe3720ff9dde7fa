"""Account security: requesting networks, login networks, and skeletons that detect confusable usernames."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("users", sa.Column("username_skeleton", sa.Text(), comment="the same for names that look alike"))
    op.create_index("uq_users_username_skeleton", "users", ["username_skeleton"], unique=True, if_not_exists=True)
    op.add_column("registrations", sa.Column("username_skeleton", sa.Text()))
    op.add_column("registrations", sa.Column("requested_from", sa.Text(), comment="network of the client"))
    op.add_column("mails", sa.Column("requested_from", sa.Text(), comment="network of the client"))
    waiting = sa.text("made_at IS NULL")
    op.create_index(
        "uq_mails_waiting_from",
        "mails",
        ["address_key", "kind", "requested_from"],
        unique=True,
        sqlite_where=waiting,
        postgresql_where=waiting,
        if_not_exists=True,
    )
    op.drop_index("uq_mails_waiting", "mails", if_exists=True)
    if op.get_bind().dialect.name == "postgresql":  # for words whose beginning is misspelled
        op.execute("CREATE INDEX IF NOT EXISTS ix_movie_words_ending ON movie_words (catalogue, right(term, 2))")
    op.create_table(
        "login_networks",
        sa.Column("user_id", sa.Text(), sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("network", sa.Text(), primary_key=True),
        sa.Column("last_used_at", _TIME, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("login_networks")
    if op.get_bind().dialect.name == "postgresql":
        op.drop_index("ix_movie_words_ending", "movie_words")
    op.drop_index("uq_mails_waiting_from", "mails")
    waiting = sa.text("made_at IS NULL")
    op.create_index(
        "uq_mails_waiting",
        "mails",
        ["address_key", "kind"],
        unique=True,
        sqlite_where=waiting,
        postgresql_where=waiting,
    )
    op.drop_index("uq_users_username_skeleton", "users")
    for table, column in (
        ("mails", "requested_from"),
        ("registrations", "requested_from"),
        ("registrations", "username_skeleton"),
        ("users", "username_skeleton"),
    ):
        op.drop_column(table, column)
