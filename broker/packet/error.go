package packet

import "fmt"

// Error is the refusal of a packet: the reason code to close the connection with and the reason in words.
type Error struct {
	// Code is the MQTT 5 reason code for the CONNACK or DISCONNECT.
	Code Code
	// Reason names the packet, the field and the rule. It holds nothing of what the peer sent but numbers, so it may be
	// logged and sent back as a Reason String.
	Reason string
}

// Error returns the reason and its code.
func (e *Error) Error() string {
	return fmt.Sprintf("%s (0x%02X %s)", e.Reason, byte(e.Code), e.Code)
}

// newError returns "PUBLISH topic name is … [MQTT-…]".
func newError(code Code, t Type, field, what string) *Error {
	return &Error{Code: code, Reason: t.String() + " " + field + " " + what}
}

func newErrorf(code Code, t Type, field, format string, args ...any) *Error {
	return newError(code, t, field, fmt.Sprintf(format, args...))
}
