#!/bin/sh
# Runs what stands in /docker-entrypoint.d before nginx, as the official image does.
set -e

if [ "$1" = nginx ]; then
    for script in /docker-entrypoint.d/*.sh; do
        echo "$0: launching $script"
        "$script"
    done
    echo "$0: configuration complete; ready for start up"
fi
exec "$@"
