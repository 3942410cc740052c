#!/bin/bash
# Gives RabbitMQ its directories and drops to its user: the official image's way.
set -euo pipefail

if [ "$1" = rabbitmq-server ] && [ "$(id -u)" = 0 ]; then
    find /var/lib/rabbitmq \! -user rabbitmq -exec chown rabbitmq '{}' +
    exec setpriv --reuid rabbitmq --regid rabbitmq --init-groups "$BASH_SOURCE" "$@"
fi
exec "$@"
