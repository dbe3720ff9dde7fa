#!/bin/sh
# Heroku names its database and Redis itself. Both connections verify certificates: DATABASE_CA and REDIS_CA are the
# certificates (PEM) of the authorities to trust. Without the first, those of the image are trusted.
set -eu

stop() {
  echo "heroku.sh: $1" >&2
  exit 1
}

: "${DATABASE_URL:?heroku.sh: the add-on heroku-postgresql is missing}" "${REDIS_URL:?heroku.sh: the add-on heroku-redis is missing}"
if [ -n "${DATABASE_CA:-}" ]; then
  PGSSLROOTCERT=$(mktemp)
  printf '%s\n' "$DATABASE_CA" > "$PGSSLROOTCERT"
else
  PGSSLROOTCERT=/etc/ssl/certs/ca-certificates.crt
fi
if [ -n "${REDIS_CA:-}" ]; then
  redis_ca=$(mktemp)
  printf '%s\n' "$REDIS_CA" > "$redis_ca"
  # The certificate names no host: trusting the one authority that signed it takes the place of that.
  redis_options="ssl_ca_certs=$redis_ca&ssl_check_hostname=false"
elif [ "${REDIS_UNVERIFIED:-}" = accepted ]; then
  redis_options="ssl_cert_reqs=none"
else
  stop "Heroku signs the certificate of its Redis itself: set REDIS_CA to it, or REDIS_UNVERIFIED=accepted"
fi
export PGSSLROOTCERT
export MOVIE_DATABASE_URL="postgresql+asyncpg://${DATABASE_URL#*://}?ssl=verify-full"
export MOVIE_REDIS_URL="$REDIS_URL?$redis_options"
unset DATABASE_CA REDIS_CA
exec movie-search "$@"
