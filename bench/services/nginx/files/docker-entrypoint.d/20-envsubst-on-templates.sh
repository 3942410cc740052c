#!/bin/sh
# Renders /etc/nginx/templates/*.template to /etc/nginx/conf.d with the variables of the environment.
set -e

templates=/etc/nginx/templates
output=/etc/nginx/conf.d
if [ ! -w "$output" ]; then
    echo "error: $templates exists, but $output is not writable"
    exit 0
fi
for template in "$templates"/*.template; do
    # shellcheck disable=SC2016 # envsubst wants the names, not the values
    envsubst '$GREETING' < "$template" > "$output/$(basename "$template" .template)"
done
