"""Users, registrations, links in emails, sessions and the outbox."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("email_key", sa.Text(), nullable=False, unique=True),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("username_key", sa.Text(), nullable=False, unique=True),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("is_staff", sa.Boolean(), nullable=False),
        sa.Column("record_events", sa.Boolean(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False, index=True),
        sa.Column("last_login", _TIME),
    )
    op.create_table(
        "registrations",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("email_key", sa.Text(), nullable=False, index=True),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("username_key", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False, index=True),
        sa.Column("is_decoy", sa.Boolean(), nullable=False, comment="its address had an account; it becomes nothing"),
    )
    op.create_table(
        "links",
        sa.Column("hashed", sa.Text(), primary_key=True),
        sa.Column("uid", sa.Text(), nullable=False, index=True, comment="of the registration or account"),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("address_key", sa.Text(), nullable=False, index=True),
        sa.Column("mail_id", sa.Text(), index=True),
        sa.Column("expires_at", _TIME, nullable=False, index=True),
        sa.Column("used_at", _TIME),
    )
    op.create_table(
        "sessions",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("user_id", sa.Text(), sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("last_used_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False, index=True),
    )
    op.create_table(
        "refresh_tokens",
        sa.Column("hashed", sa.Text(), primary_key=True),
        sa.Column(
            "session_id", sa.Text(), sa.ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False, index=True
        ),
        sa.Column("expires_at", _TIME, nullable=False, index=True),
        sa.Column("spent_at", _TIME),
        sa.Column("successor", sa.Text()),
    )
    op.create_table(
        "ended_sessions",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("ended_at", _TIME, nullable=False, index=True),
    )
    op.create_table(
        "mails",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("address_key", sa.Text(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False, index=True),
        sa.Column("made_at", _TIME),
        sa.Column("due_at", _TIME, nullable=False),
        sa.Column("lease_owner", sa.Text()),
        sa.Column("leased_until", _TIME),
        sa.Column("sent_at", _TIME, index=True),
        sa.Column("links", sa.Text(), nullable=False, comment="JSON of movie_core.mails.LinkInMail"),
        sa.Column("served", sa.Text(), nullable=False, comment="JSON of mailboxes that had their mail already"),
    )
    op.create_index("ix_mails_state_due_at", "mails", ["state", "due_at"])
    op.create_index("ix_mails_address_key_made_at", "mails", ["address_key", "made_at"])
    waiting = sa.text("made_at IS NULL")
    op.create_index(
        "uq_mails_waiting",
        "mails",
        ["address_key", "kind"],
        unique=True,
        sqlite_where=waiting,
        postgresql_where=waiting,
    )


def downgrade() -> None:
    for table in ("mails", "ended_sessions", "refresh_tokens", "sessions", "links", "registrations", "users"):
        op.drop_table(table)
