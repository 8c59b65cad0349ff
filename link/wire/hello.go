package wire

import (
	"encoding/binary"
	"fmt"
	"io"
)

// ALPN is the application protocol of a tunnel in TLS. It changes only when the
// opening itself does; versions are negotiated inside.
const ALPN = "causeway-link/1"

// Versions of the tunnel protocol that this build speaks.
const (
	MinVersion = 1
	MaxVersion = 1
)

// Feature bits. A feature is used when both sides have it; unknown bits mean
// nothing to us.
const (
	FeatureZstd  uint64 = 1 << 0 // frames may be compressed with zstd
	FeatureS2    uint64 = 1 << 1 // frames may be compressed with s2
	FeatureRelay uint64 = 1 << 3 // streams of kind StreamRelay are known
	// FeatureGroups: messages may be for groups, and what is asked for on behalf of
	// global groups is part of the interest.
	FeatureGroups uint64 = 1 << 4
	// FeatureCanary: spools have canaries, messages without a topic that the receiver
	// takes in, acknowledges and gives to nobody.
	FeatureCanary uint64 = 1 << 5
	// FeatureTest: questions are answered, and padding is read.
	FeatureTest uint64 = 1 << 6
	// FeatureBundle: over QUIC a tunnel may have several connections, and its
	// unidirectional streams are cut into chunks for them.
	FeatureBundle uint64 = 1 << 7
	// FeatureZstdStream: the blocks of a stream may be compressed as one zstd frame.
	FeatureZstdStream uint64 = 1 << 8
)

// FeatureHomes: the opening says which home is wanted and what the sender's copy is;
// streams of the kinds StreamCall and StreamShip are known.
const FeatureHomes uint64 = 1 << 10

// IsLeaf is no feature but says among them what the sender is: a leaf region.
const IsLeaf uint64 = 1 << 9

// Features are those of this build.
const Features = FeatureZstd | FeatureS2 | FeatureRelay | FeatureGroups | FeatureCanary | FeatureTest | FeatureBundle | FeatureZstdStream |
	FeatureHomes

// magic opens every tunnel, so that a stray speaker of another protocol is told
// from an old Causeway.
const magic = "CWLK"

// maxHello bounds the opening, with room for fields of later versions.
const maxHello = 4096

// Epoch is the epoch of a home: its number and the region that hosts it.
type Epoch struct {
	Number uint64
	Host   string
}

// Source is where messages were numbered: a home at an epoch.
type Source struct {
	Home  string
	Epoch Epoch
}

// Hello is the opening: the dialler sends it first on the control stream, the
// accepting side answers with its own or with a Goodbye.
type Hello struct {
	Min, Max uint64 // versions of the protocol
	Features uint64
	Region   string // must be the one in the sender's certificate
	Home     string
	Epoch    Epoch
	Software string // version of the program, for people
	Instance uint64 // random, one for each run of the sender
	// MaxMessage is the largest message the sender of this takes, as MessageBytes
	// counts it. Larger ones must not be sent.
	MaxMessage uint64

	// What follows comes with FeatureHomes. Who does not know of it hosts the home of
	// its region and wants the one of the other's.
	Role    Role
	Purpose Purpose
	To      string // the home that is wanted
	Known   Epoch  // the highest of To that the sender has heard of
}

// Role is what a copy of a home is to the others.
type Role byte

// Roles. A node without a home is a witness.
const (
	RoleHost    Role = 0
	RoleStandby Role = 1 // takes what the host ships
	RoleFenced  Role = 2 // hosts no more; what it still has for others drains
	RoleWitness Role = 3
)

func (r Role) String() string {
	names := [...]string{"host", "standby", "fenced", "witness"}
	if int(r) < len(names) {
		return names[r]
	}
	return fmt.Sprintf("role %d", byte(r))
}

// Purpose is what a tunnel is for.
type Purpose byte

// Purposes. Calls go by each tunnel.
const (
	PurposeLink  Purpose = 0 // between the hosts of two homes
	PurposeDrain Purpose = 1 // from a fenced copy of a home to the host of another one
	PurposeShip  Purpose = 2 // from the host of a home to a standby of it
	PurposeCalls Purpose = 3 // for nothing else
)

func (p Purpose) String() string {
	names := [...]string{"link", "drain", "ship", "calls"}
	if int(p) < len(names) {
		return names[p]
	}
	return fmt.Sprintf("purpose %d", byte(p))
}

// Leaf says that the sender's region is a leaf.
func (h *Hello) Leaf() bool { return h.Features&IsLeaf != 0 }

// Append adds the opening to b.
func (h *Hello) Append(b []byte) []byte {
	body := make([]byte, 0, 128)
	body = binary.AppendUvarint(body, h.Min)
	body = binary.AppendUvarint(body, h.Max)
	body = binary.AppendUvarint(body, h.Features)
	body = appendString(body, h.Region)
	body = appendString(body, h.Home)
	body = appendEpoch(body, h.Epoch)
	body = appendString(body, h.Software)
	body = binary.BigEndian.AppendUint64(body, h.Instance)
	body = binary.AppendUvarint(body, h.MaxMessage)
	if h.Features&FeatureHomes != 0 {
		body = append(body, byte(h.Role), byte(h.Purpose))
		body = appendString(body, h.To)
		body = appendEpoch(body, h.Known)
	}
	b = append(b, magic...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	return append(b, body...)
}

// ReadHello reads an opening. It reads no byte beyond it.
func ReadHello(r io.Reader) (Hello, error) {
	var head [len(magic) + 2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return Hello{}, fmt.Errorf("read the tunnel's opening: %w", err)
	}
	if string(head[:len(magic)]) != magic {
		return Hello{}, corrupt("the tunnel opens with %q, not %q: no Causeway link speaks there", head[:len(magic)], magic)
	}
	n := int(binary.BigEndian.Uint16(head[len(magic):]))
	if n > maxHello {
		return Hello{}, tooLarge("the opening has %d bytes, at most %d are allowed", n, maxHello)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return Hello{}, fmt.Errorf("read the tunnel's opening: %w", err)
	}
	return parseHello(body)
}

// parseHello ignores what follows the fields it knows: a later version may add
// some.
func parseHello(b []byte) (Hello, error) {
	f := fields{b: b}
	h := Hello{
		Min:        f.uvarint("lowest version"),
		Max:        f.uvarint("highest version"),
		Features:   f.uvarint("feature bits"),
		Region:     f.string("region", maxName),
		Home:       f.string("home", maxName),
		Epoch:      f.epoch(),
		Software:   f.string("software version", maxName),
		Instance:   f.uint64("instance"),
		MaxMessage: f.uvarint("largest message"),
	}
	if f.err == nil && h.Features&FeatureHomes != 0 {
		h.Role, h.Purpose = Role(f.byte("role")), Purpose(f.byte("purpose"))
		h.To, h.Known = f.string("wanted home", maxName), f.epoch()
	}
	if f.err == nil && h.Min > h.Max {
		f.fail(corrupt("versions run from %d to %d", h.Min, h.Max))
	}
	if f.err != nil {
		return Hello{}, f.err
	}
	return h, nil
}

// Agreement is what two openings have in common.
type Agreement struct {
	Version  uint64
	Features uint64
}

// Groups says that both sides know global groups.
func (a Agreement) Groups() bool { return a.Features&FeatureGroups != 0 }

// An IncompatibleError says that two sides share no version of the protocol.
type IncompatibleError struct{ Local, Remote Hello }

func (e *IncompatibleError) Error() string {
	return fmt.Sprintf("no common link protocol: %s (%s) speaks %d to %d, %s (%s) speaks %d to %d; upgrade the older one",
		e.Local.Region, e.Local.Software, e.Local.Min, e.Local.Max,
		e.Remote.Region, e.Remote.Software, e.Remote.Min, e.Remote.Max)
}

// Agree returns the highest version and the features that both sides have. The
// result is the same on both.
func Agree(local, remote Hello) (Agreement, error) {
	v := min(local.Max, remote.Max)
	if v < local.Min || v < remote.Min {
		return Agreement{}, &IncompatibleError{Local: local, Remote: remote}
	}
	return Agreement{Version: v, Features: local.Features & remote.Features}, nil
}

func appendEpoch(b []byte, e Epoch) []byte {
	b = binary.AppendUvarint(b, e.Number)
	return appendString(b, e.Host)
}

func appendSource(b []byte, s Source) []byte {
	b = appendString(b, s.Home)
	return appendEpoch(b, s.Epoch)
}

func (f *fields) epoch() Epoch {
	return Epoch{Number: f.uvarint("epoch"), Host: f.string("epoch's host", maxName)}
}

func (f *fields) source() Source {
	return Source{Home: f.string("home", maxName), Epoch: f.epoch()}
}
