#!/bin/sh
# Brings this node's files from the cloud's store to /etc/causeway. systemd runs it before the node starts and every few
# minutes: certificates, users and rules are taken up by the running node, a new node file at its next start.
set -eu
. /usr/lib/causeway/node.env
. /usr/lib/causeway/store.sh
umask 077
new=$(mktemp -d /etc/causeway/.new.XXXXXX)
trap 'rm -rf "$new"' EXIT
secret "$SECRET" >"$new/.secret"
jq -e 'type == "object" and length > 0' "$new/.secret" >/dev/null || { echo "the secret $SECRET holds no files: apply terraform again" >&2; exit 1; }
# The names are ours, but not this machine's to trust.
for name in $(jq -r 'keys[] | select(test("^[A-Za-z0-9][A-Za-z0-9._-]*$"))' "$new/.secret"); do
    jq -j --arg name "$name" '.[$name]' "$new/.secret" >"$new/$name"
    case $name in
    *.yaml) sed -i "s/@NODE@/$NODE/; s/@ADDRESS@/$ADDRESS/" "$new/$name" ;;
    *-hook) chmod 700 "$new/$name" ;;
    esac
    cmp -s "$new/$name" "/etc/causeway/$name" && continue
    chown causeway:causeway "$new/$name"
    mv "$new/$name" "/etc/causeway/$name"
    echo "wrote $name"
done
