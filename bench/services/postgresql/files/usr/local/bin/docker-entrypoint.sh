#!/bin/bash
# Makes the database cluster at the first start, then runs the server as postgres: the official image's way, shortened.
set -Eeo pipefail

if [ "$1" = postgres ] && [ "$(id -u)" = 0 ]; then
    mkdir -p "$PGDATA"
    chmod 700 "$PGDATA" || :
    mkdir -p /var/run/postgresql || :
    chmod 775 /var/run/postgresql || :
    find "$PGDATA" \! -user postgres -exec chown postgres '{}' +
    find /var/run/postgresql \! -user postgres -exec chown postgres '{}' +
    exec setpriv --reuid postgres --regid postgres --init-groups "$BASH_SOURCE" "$@"
fi

if [ "$1" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
    initdb --username=postgres --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") --auth-host=scram-sha-256 > /dev/null
    printf '\nhost all all all scram-sha-256\n' >> "$PGDATA/pg_hba.conf"
    # A server for this script only: it listens on the socket and nowhere else.
    PGUSER=postgres pg_ctl -D "$PGDATA" -o "-c listen_addresses='' -p 5432" -w start
    psql -v ON_ERROR_STOP=1 --username postgres --no-psqlrc <<- 'EOSQL'
		CREATE DATABASE app;
	EOSQL
    for script in /docker-entrypoint-initdb.d/*.sql; do
        echo "$0: running $script"
        psql -v ON_ERROR_STOP=1 --username postgres --no-psqlrc --dbname app -f "$script"
    done
    PGUSER=postgres pg_ctl -D "$PGDATA" -m fast -w stop
    echo 'PostgreSQL init process complete; ready for start up.'
fi
if [ "$1" = postgres ]; then
    set -- "$@" -c listen_addresses='*'
fi
exec "$@"
