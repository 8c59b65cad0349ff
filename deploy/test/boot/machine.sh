#!/bin/sh
# Boots systemd in namespaces that were made for it: machine.sh DIR HOSTNAME. DIR is where the file system is put together: this
# machine's below, memory above.
set -eu
dir=$1
hostname "$2"
mount -t tmpfs tmpfs "$dir"
mkdir "$dir/upper" "$dir/work" "$dir/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$dir/upper,workdir=$dir/work" "$dir/root"
cd "$dir/root"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mount -t tmpfs tmpfs var/log
mount --rbind /dev dev
# Nothing of this machine's own services.
rm -rf etc/systemd/system/*.wants etc/causeway usr/lib/causeway var/lib/causeway var/lib/systemd/timers
echo "$2" >etc/hostname
mkdir -p run/old
pivot_root . run/old
umount -l run/old || true
exec env -i container=causeway-test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --unit=multi-user.target --show-status=false
