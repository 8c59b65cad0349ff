package link

import "causeway/link/wire"

// Role is what a copy of a home is to others.
type Role = wire.Role

// Roles of copies. The zero Role is that of a home that has one copy.
const (
	RoleHost    = wire.RoleHost    // it serves its sessions
	RoleStandby = wire.RoleStandby // it takes what the host ships
	RoleFenced  = wire.RoleFenced  // it hosts no more; what it still has for others drains
	RoleWitness = wire.RoleWitness // there is no home
)
