"""Entry point of `python -m movie_cli`."""

from movie_cli import main

main()
