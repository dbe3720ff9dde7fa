"""The commands and their groups."""

from importlib.metadata import version

from cyclopts import App, Group

app = App(
    name="movie-search",
    help="Search movies held by a source that fails every now and then; serve that as an API.",
    version=lambda: version("movie-search-backend"),
    version_flags=["--version"],
    help_format="plaintext",
)
MOVIES = Group.create_ordered("Movies")
PROCESSES = Group.create_ordered("Processes")
ACCOUNTS = Group.create_ordered("Accounts and mail")
UPKEEP = Group.create_ordered("Upkeep")
catalogue_app = App(name="catalogue", help="The movies that are kept here.", group=MOVIES)
users_app = App(name="users", help="Accounts, and registrations that wait for their activation.", group=ACCOUNTS)
sessions_app = App(name="sessions", help="Where an account is logged in.", group=ACCOUNTS)
audit_app = App(name="audit", help="What staff did, here and through the API.", group=ACCOUNTS)
tasks_app = App(name="tasks", help="What waits in Redis for the worker.", group=UPKEEP)
cache_app = App(name="cache", help="Answers of the movie source that all processes remember together.", group=UPKEEP)
recommend_app = App(name="recommend", help="What recommendations are learned from ratings.", group=MOVIES)
mail_app = App(name="mail", help="Mails, until they are sent and for a while after.", group=ACCOUNTS)
for _part in (catalogue_app, recommend_app, users_app, sessions_app, mail_app, audit_app, cache_app, tasks_app):
    app.command(_part)
