#!/bin/sh
# Heroku names its database and Redis itself, and its Redis has a certificate that nobody has signed.
export MOVIE_DATABASE_URL="postgresql+asyncpg://${DATABASE_URL#*://}?ssl=require"
export MOVIE_REDIS_URL="$REDIS_URL?ssl_cert_reqs=none"
exec movie-search "$@"
