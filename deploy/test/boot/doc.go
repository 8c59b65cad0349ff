// Package boot runs what Terraform renders: three machines, each with a systemd of its own in namespaces over a copy of this
// machine's file system, execute the boot script as cloud-init would. They fetch their secrets from stand-ins of the three
// clouds' stores, install the Debian package, mount their disks and form a region behind HAProxy; one of them is replaced.
//
// What it is not: a cloud. The stand-ins know the requests that our scripts make, and the network is a bridge. It needs root,
// loop devices and overlayfs. `make deploy` runs it; nothing imports it.
package boot
