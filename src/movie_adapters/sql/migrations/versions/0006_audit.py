"""The audit log."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    def account() -> sa.ForeignKey:
        """The entry is kept when the user is deleted; the id becomes NULL."""
        return sa.ForeignKey("users.id", ondelete="SET NULL")

    op.create_table(
        "audit",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False, index=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("is_command_line", sa.Boolean(), nullable=False, comment="so that no account is the actor"),
        sa.Column("actor_id", sa.Text(), account(), index=True),
        sa.Column("account_id", sa.Text(), account(), index=True, comment="whom it was about"),
        sa.Column("mail_id", sa.Text(), comment="which mail it was about, also when that is gone"),
    )


def downgrade() -> None:
    op.drop_table("audit")
