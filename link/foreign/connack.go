package foreign

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"causeway/broker/packet"
)

// usualInflight is what a broker of 3.1.1, which cannot say, takes unacknowledged: mosquitto's default.
const usualInflight = 20

// accepted reads a CONNACK.
func (s *conn) accepted(body []byte, keepAlive time.Duration) error {
	v := s.dialect.version
	if v == packet.V5 && len(body) == 2 && body[1] != 0 {
		v = packet.V311 // the answer of one that knows no 5
	}
	ack, err := packet.DecodeConnack(body, v)
	switch {
	case err != nil:
		return err
	case ack.Code == packet.UnsupportedProtocolVersion:
		return fmt.Errorf("%s: %w", s.dialect, errDialect)
	case ack.Code != packet.Success:
		return refusal(&ack)
	}
	s.expiry = math.MaxInt64
	s.present, s.keepAlive, s.receiveMax, s.maxQoS, s.retain, s.maxPacket = ack.SessionPresent, keepAlive, usualInflight, 2, true, packet.MaxRemaining
	if v != packet.V5 {
		return nil
	}
	s.receiveMax = 65535
	if ack.ReceiveMaximum != 0 {
		s.receiveMax = int(ack.ReceiveMaximum)
	}
	if ack.SessionExpiry.Set && ack.SessionExpiry.Value != packet.SessionNeverExpires {
		s.expiry = time.Duration(ack.SessionExpiry.Value) * time.Second
	}
	if ack.MaximumQoS.Set {
		s.maxQoS = ack.MaximumQoS.Value
	}
	if ack.RetainAvailable.Set {
		s.retain = ack.RetainAvailable.Value
	}
	if ack.MaximumPacketSize != 0 {
		s.maxPacket = int(ack.MaximumPacketSize)
	}
	if ack.ServerKeepAlive.Set && ack.ServerKeepAlive.Value != 0 {
		s.keepAlive = time.Duration(ack.ServerKeepAlive.Value) * time.Second
	}
	return nil
}

// refusal says in words why a broker does not accept us, and what helps.
func refusal(ack *packet.Connack) error {
	why := ""
	if ack.ReasonString != "" {
		why = fmt.Sprintf(" (it says %q)", ack.ReasonString)
	}
	fix := map[packet.Code]string{
		packet.BadUserNameOrPassword:    "set username and password",
		packet.NotAuthorized:            "set username and password, or allow this client id there",
		packet.ClientIdentifierNotValid: "set another client_id",
		packet.Banned:                   "ask its operator",
		packet.ServerUnavailable:        "it is tried again",
		packet.ServerBusy:               "it is tried again",
		packet.UseAnotherServer:         "set address to " + ack.ServerReference,
		packet.ServerMoved:              "set address to " + ack.ServerReference,
	}[ack.Code]
	if fix != "" {
		fix = "; " + fix
	}
	return fmt.Errorf("the broker refuses: %s%s%s", ack.Code, why, fix)
}

// readPacket reads one packet of at most limit bytes, into memory of its own.
func readPacket(r *bufio.Reader, v packet.Version, limit int) (packet.Header, []byte, error) {
	for n := 2; ; n++ {
		b, err := r.Peek(n)
		if err != nil {
			return packet.Header{}, nil, err
		}
		h, size, err := packet.ReadHeader(b, v)
		if err != nil {
			return h, nil, err
		}
		if size == 0 {
			continue
		}
		err = h.CheckSize(size, limit)
		_, _ = r.Discard(size)
		if err != nil {
			return h, nil, err
		}
		body := make([]byte, h.Remaining) // not nil
		_, err = io.ReadFull(r, body)
		return h, body, err
	}
}

// ended says in words why a connection is gone.
func ended(err error) error {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the broker closed the connection")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errors.New("the broker is silent")
	}
	return err
}

func tooLarge(err error) bool {
	var refused *packet.Error
	return errors.As(err, &refused) && refused.Code == packet.PacketTooLarge
}
