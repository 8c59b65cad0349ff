#!/bin/sh
# Mounts the data disk at the data directory. An empty disk is formatted; one that holds anything else than our file system is
# left alone, since it may be the last copy of something.
set -eu
. /usr/lib/causeway/node.env
if [ -n "$DISK" ]; then
    for _ in $(seq 120); do [ -b "$DISK" ] && break; sleep 1; done
    [ -b "$DISK" ] || { echo "$DISK is not there after 120 s: attach the data disk" >&2; exit 1; }
    type=$(blkid -p -s TYPE -o value "$DISK" || true)
    [ -n "$type" ] || mkfs.ext4 -q -L causeway "$DISK"
    [ "${type:-ext4}" = ext4 ] || { echo "$DISK holds $type and not ext4: it is not a data disk of ours" >&2; exit 1; }
    mountpoint -q "$DATA" || mount -o noatime,nodev,nosuid,noexec "$DISK" "$DATA"
fi
chown causeway:causeway "$DATA"
chmod 0700 "$DATA"
