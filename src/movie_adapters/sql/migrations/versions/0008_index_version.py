"""The version of the title index. A catalogue that an earlier version of the application has indexed is indexed again
by `MovieCatalogue.load`, because only the adapters of the catalogue know the terms."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    version = sa.Column(
        "index_version", sa.Integer(), nullable=False, server_default="0", comment="catalogue.terms.INDEX_VERSION"
    )
    op.add_column("catalogues", version)


def downgrade() -> None:
    op.drop_column("catalogues", "index_version")
