"""The application and its command groups."""

from importlib.metadata import version

from cyclopts import App, Group

app = App(
    name="movie-search",
    help="Search movies of an unreliable source, and serve the search as an API.",
    version=lambda: version("movie-search-backend"),
    version_flags=["--version"],
    help_format="plaintext",
)
app.register_install_completion_command()
MOVIES = Group.create_ordered("Movies")
PROCESSES = Group.create_ordered("Processes")
ACCOUNTS = Group.create_ordered("Accounts and email")
OPERATIONS = Group.create_ordered("Operations")
catalogue_app = App(name="catalogue", help="Manage the local movie catalogue.", group=MOVIES)
users_app = App(name="users", help="Manage accounts and pending registrations.", group=ACCOUNTS)
sessions_app = App(name="sessions", help="Manage the sessions of an account.", group=ACCOUNTS)
audit_app = App(
    name="audit", help="Show the audit log: actions of staff, on the command line and through the API.", group=ACCOUNTS
)
tasks_app = App(name="tasks", help="Show the task queue in Redis.", group=OPERATIONS)
cache_app = App(name="cache", help="Manage the search cache that all processes share in Redis.", group=OPERATIONS)
recommend_app = App(
    name="recommend", help="Import ratings, and train and evaluate the recommendation model.", group=MOVIES
)
mail_app = App(
    name="mail", help="Manage outgoing email: the outbox with pending, sent and dead messages.", group=ACCOUNTS
)
for _group in (catalogue_app, recommend_app, users_app, sessions_app, mail_app, audit_app, cache_app, tasks_app):
    app.command(_group)
