package replica

import (
	"context"

	"causeway/internal/cluster"
)

// Cluster connects this node with the others of its region. *cluster.Cluster is
// one.
type Cluster interface {
	// Dial opens a stream to a node; with a disk, only if that is the node's disk.
	Dial(ctx context.Context, node, disk, protocol string) (*cluster.Stream, error)
	// Handle says who serves a protocol's streams; nil nobody.
	Handle(protocol string, serve func(context.Context, *cluster.Stream))
	// Members are the nodes that gossip knows: hints.
	Members() []cluster.Member
	// Watch tells when they changed.
	Watch() (changed <-chan struct{}, stop func())
}
