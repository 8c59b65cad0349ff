package admin

// Kinds of a Link.
const (
	LinkKindRegion = "region"
	LinkKindMQTT   = "mqtt" // a broker of another make
)

// LinkForeign is what only a link to a broker of another make has. Counts are since the node started.
type LinkForeign struct {
	Direction     string      `json:"direction"` // in, out, both
	Protocol      string      `json:"protocol"`  // that the broker is spoken to in; "" before it was reached
	Connections   int         `json:"connections"`
	ConnectionsUp int         `json:"connections_up"`
	UnderWay      int         `json:"under_way"`    // messages of the spool that are being sent
	MessagesOut   int64       `json:"messages_out"` // with those sent again
	MessagesIn    int64       `json:"messages_in"`
	Again         int64       `json:"again"`          // sent again after a connection was lost
	PutOff        int64       `json:"put_off"`        // the broker had no room for
	Bare          int64       `json:"bare"`           // sent without MQTT 5 properties, since the broker speaks 3.1.1
	CanaryReturns bool        `json:"canary_returns"` // false: it is known to have reached the broker only
	Drops         []LinkDrops `json:"drops"`
}

// LinkDrops counts messages that a link dropped, of both directions, for one reason.
type LinkDrops struct {
	Reason string `json:"reason"`
	Count  int64  `json:"count"`
}
