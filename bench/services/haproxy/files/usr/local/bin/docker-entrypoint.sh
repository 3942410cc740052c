#!/bin/sh
# Writes haproxy.cfg from its template and the environment, then starts haproxy.
set -e

escape() { printf '%s' "$1" | sed 's/[\/&]/\\&/g'; }
sed -e "s/@ALLOW_PATH@/$(escape "$ALLOW_PATH")/" -e "s/@BACKEND@/$(escape "$BACKEND")/" \
    /etc/haproxy/haproxy.cfg.template > /etc/haproxy/haproxy.cfg
exec "$@"
