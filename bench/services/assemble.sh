#!/bin/sh
# Fills UPPER with what one image adds to LOWER: packages, files, what the folder's setup does.
#
# Runs in a mount and a pid namespace of its own, so that every mount, and every daemon that a package starts, is gone
# when it ends, however it ends. From the environment: LOWER (overlay lower directories), UPPER, WORK, MERGED,
# APT (shared lists and archives), PACKAGES, and where there is something to do FILES (a directory), SETUP (a script
# run inside), RUN (what to run instead of a setup, with the folder at /folder), ROOTFS (where the result is copied).
set -eu
umask 022

mount -t overlay overlay -o "lowerdir=$LOWER,upperdir=$UPPER,workdir=$WORK,redirect_dir=off,metacopy=off,index=off" "$MERGED"
mount -t proc proc "$MERGED/proc"
mount -t tmpfs -o mode=0755 dev "$MERGED/dev"
mknod -m 666 "$MERGED/dev/null" c 1 3
mknod -m 666 "$MERGED/dev/zero" c 1 5
mknod -m 666 "$MERGED/dev/random" c 1 8
mknod -m 666 "$MERGED/dev/urandom" c 1 9
mknod -m 666 "$MERGED/dev/tty" c 5 0
ln -s /proc/self/fd "$MERGED/dev/fd"
mkdir -m 1777 "$MERGED/dev/shm"
mount --bind "$APT/lists" "$MERGED/var/lib/apt/lists"
mount --bind "$APT/archives" "$MERGED/var/cache/apt/archives"
mount --bind /etc/resolv.conf "$MERGED/etc/resolv.conf"

inside() {
    env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
        DEBIAN_FRONTEND=noninteractive ${http_proxy:+http_proxy="$http_proxy"} \
        chroot "$MERGED" "$@"
}

apt() {
    # The archives stay for the next image; nothing of an image is worth an fsync per file.
    inside apt-get -q -y -o APT::Sandbox::User=root -o APT::Keep-Downloaded-Packages=true \
        -o APT::Install-Recommends=false -o Acquire::Languages=none -o Acquire::Retries=3 \
        -o Acquire::Check-Valid-Until=false -o Acquire::Check-Date=false \
        -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-unsafe-io "$@"
}

# Lists are refreshed once a day, by whoever comes first.
if [ -z "$(find "$APT/lists" -maxdepth 1 -name '*InRelease' -mtime -1 -print -quit)" ]; then
    apt update
fi
# update-alternatives fails where manual pages have no directory, though the pages are left out.
mkdir -p "$MERGED/usr/share/man/man1"
# shellcheck disable=SC2086 # a list of package names
[ -z "$PACKAGES" ] || apt install $PACKAGES
if [ -n "${FILES:-}" ]; then
    tar -C "$FILES" --numeric-owner --owner=0 --group=0 -cf - . | tar -C "$MERGED" --no-overwrite-dir -xpf -
fi
if [ -n "${RUN:-}" ]; then
    mkdir "$MERGED/out" "$MERGED/folder"
    mount --bind -o ro "$FOLDER" "$MERGED/folder"
    inside sh -eu "/folder/$RUN"
    umount "$MERGED/folder"
fi
[ -z "${SETUP:-}" ] || inside sh -eu < "$SETUP"

umount "$MERGED/etc/resolv.conf" "$MERGED/var/cache/apt/archives" "$MERGED/var/lib/apt/lists" "$MERGED/dev"
umount "$MERGED/proc"
# What package managers leave, and no image of a distribution has.
rm -rf "$MERGED"/var/cache/apt/*.bin "$MERGED"/var/log/apt "$MERGED"/var/log/dpkg.log "$MERGED"/var/log/alternatives.log \
    "$MERGED"/var/log/bootstrap.log "$MERGED"/var/cache/debconf/*-old "$MERGED"/var/lib/dpkg/*-old \
    "$MERGED"/var/cache/ldconfig/aux-cache
find "$MERGED/tmp" "$MERGED/var/tmp" -mindepth 1 -delete
[ -z "${ROOTFS:-}" ] || cp -a "$MERGED/." "$ROOTFS/"
umount "$MERGED"
