#!/bin/sh
# Adds an IPv6 listener to the configuration that came with the image.
set -e

conf=/etc/nginx/conf.d/default.conf
if [ ! -f /proc/net/if_inet6 ]; then
    echo "info: ipv6 not available"
    exit 0
fi
if ! touch "$conf" 2> /dev/null; then
    echo "info: can not modify $conf (read-only file system?)"
    exit 0
fi
if grep -q 'listen *\[::\]:80;' "$conf"; then
    echo "info: IPv6 listen already enabled"
    exit 0
fi
sed -i -E 's,listen       80;,listen       80;\n    listen  [::]:80;,' "$conf"
echo "info: Enabled listen on IPv6 in $conf"
