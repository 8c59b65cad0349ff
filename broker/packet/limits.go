package packet

// Bounds on what one packet may make the broker allocate, beyond the packet size limit of the listener.
const (
	// MaxRemaining is the largest Remaining Length the wire can carry, in bytes.
	MaxRemaining = 268_435_455
	// MaxHeader is the longest fixed header in bytes: type and flags, and four bytes of length.
	MaxHeader = 5
	// MaxFilters bounds the topic filters of one SUBSCRIBE or UNSUBSCRIBE; more are refused with QuotaExceeded.
	MaxFilters = 8192
	// MaxUserProperties bounds the user properties of one packet; more are refused with QuotaExceeded.
	MaxUserProperties = 1024
	// SessionNeverExpires is the session expiry interval that never ends.
	SessionNeverExpires uint32 = 0xFFFFFFFF
)
