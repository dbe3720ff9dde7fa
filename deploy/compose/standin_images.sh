#!/bin/sh
# Builds replacement images with the names used in Dockerfile and compose.yaml, from Debian packages and the Caddy wheel,
# for machines that can reach those but no image registry. They implement only what the stack needs. There are none for
# pgAdmin, Redis Insight, Prometheus, Grafana and the collector. Requires root, debootstrap, a Docker daemon and
# `make setup`; takes three minutes. Never push these images.
set -eu
cd "$(dirname "$0")/../.."
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM

python_image=$(sed -n 's/^FROM \(python:[^ ]*\).*/\1/p' Dockerfile | sort -u)
image() { sed -n "s|^ *image: \($1:.*\)|\1|p" compose.yaml; }
import() { tar -C "$1" -c . | docker import -c 'ENV PATH=/usr/local/bin:/usr/lib/postgresql/17/bin:/usr/sbin:/usr/bin:/sbin:/bin' - "$2"; }

# Python 3.11 comes from Debian 12 (bookworm), everything else from Debian 13 (trixie).
debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv bookworm "$work/python" "$mirror" >"$work/log" || {
	cat "$work/log"
	exit 1
}
ln -s /usr/bin/python3 "$work/python/usr/local/bin/python"
ln -s /usr/bin/python3 "$work/python/usr/local/bin/python3"
import "$work/python" "$python_image"

debootstrap --variant=minbase --include=busybox,ca-certificates,python3 trixie "$work/services" "$mirror" >"$work/log" || {
	cat "$work/log"
	exit 1
}
# Same user and group ids as the official images; the packages must not create a cluster or start a service.
chroot "$work/services" sh -eu -c '
	groupadd -g 999 postgres && useradd -u 999 -g 999 -d /var/lib/postgresql postgres
	mkdir /etc/postgresql-common && echo "create_main_cluster = false" > /etc/postgresql-common/createcluster.conf
	printf "#!/bin/sh\nexit 101\n" > /usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d
	export DEBIAN_FRONTEND=noninteractive
	apt-get -qq update && apt-get -qq install -y --no-install-recommends postgresql-17 valkey-server libcap2-bin
	ln -s /bin/busybox /usr/local/bin/wget' >"$work/log" 2>&1 || {
	cat "$work/log"
	exit 1
}
cp .venv/bin/caddy "$work/services/usr/local/bin/caddy"
cp deploy/compose/standin_mailbox.py "$work/services/mailpit"
sed -i '1i #!/usr/bin/python3' "$work/services/mailpit"
chmod 755 "$work/services/mailpit"
cat >"$work/services/usr/local/bin/start-postgres" <<'SH'
#!/bin/sh
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
	password=$(mktemp)
	echo "$POSTGRES_PASSWORD" >"$password"
	initdb -D "$PGDATA" -U "$POSTGRES_USER" --pwfile="$password" --auth-local=trust --auth-host=scram-sha-256 -E UTF8 --locale=C.UTF-8
	rm "$password"
	echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
	echo "CREATE DATABASE $POSTGRES_DB" | postgres --single -D "$PGDATA" postgres
fi
exec "$@"
SH
chmod 755 "$work/services/usr/local/bin/start-postgres"
import "$work/services" movie-search-standin:services

# As in Caddy's official image, the binary has a file capability.
docker build -t "$(image caddy)" - <<'DOCKER'
FROM movie-search-standin:services
RUN setcap cap_net_bind_service=+ep /usr/local/bin/caddy && mkdir -p /data /config
ENV XDG_DATA_HOME=/data XDG_CONFIG_HOME=/config
CMD ["caddy", "run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"]
DOCKER
docker build -t "$(image postgres)" - <<'DOCKER'
FROM movie-search-standin:services
RUN install -d -o 999 -g 999 -m 1777 /var/lib/postgresql/data \
    && sed -i "s/^#*listen_addresses = .*/listen_addresses = '*'/" /usr/share/postgresql/17/postgresql.conf.sample
ENV PGDATA=/var/lib/postgresql/data
VOLUME /var/lib/postgresql/data
ENTRYPOINT ["start-postgres"]
CMD ["postgres"]
DOCKER
docker build -t "$(image valkey/valkey)" - <<'DOCKER'
FROM movie-search-standin:services
RUN install -d -o 999 -g 999 /data
WORKDIR /data
CMD ["valkey-server"]
DOCKER
docker build -t "$(image axllent/mailpit)" - <<'DOCKER'
FROM movie-search-standin:services
ENTRYPOINT ["/mailpit"]
DOCKER
