#!/bin/sh
# Derives MOVIE_DATABASE_URL and MOVIE_REDIS_URL from DATABASE_URL and REDIS_URL, which Heroku sets, then runs `movie-search`
# with the given arguments. Both connections verify certificates: DATABASE_CA and REDIS_CA are the CA certificates (PEM) to
# trust. Without DATABASE_CA, the CA certificates of the image are trusted.
set -eu

fail() {
  echo "heroku/start.sh: $1" >&2
  exit 1
}

: "${DATABASE_URL:?heroku/start.sh: the add-on heroku-postgresql is missing}" "${REDIS_URL:?heroku/start.sh: the add-on heroku-redis is missing}"
if [ -n "${DATABASE_CA:-}" ]; then
  PGSSLROOTCERT=$(mktemp)
  printf '%s\n' "$DATABASE_CA" > "$PGSSLROOTCERT"
else
  PGSSLROOTCERT=/etc/ssl/certs/ca-certificates.crt
fi
if [ -n "${REDIS_CA:-}" ]; then
  redis_ca=$(mktemp)
  printf '%s\n' "$REDIS_CA" > "$redis_ca"
  # The certificate contains no host name to check; instead, only the CA that signed it is trusted.
  redis_options="ssl_ca_certs=$redis_ca&ssl_check_hostname=false"
elif [ "${REDIS_UNVERIFIED:-}" = accepted ]; then
  redis_options="ssl_cert_reqs=none"
else
  fail "the certificate of Heroku's Redis is self-signed: set REDIS_CA to it, or REDIS_UNVERIFIED=accepted to skip verification"
fi
export PGSSLROOTCERT
export MOVIE_DATABASE_URL="postgresql+asyncpg://${DATABASE_URL#*://}?ssl=verify-full"
export MOVIE_REDIS_URL="$REDIS_URL?$redis_options"
unset DATABASE_CA REDIS_CA
exec movie-search "$@"
