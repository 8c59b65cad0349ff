package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"causeway/internal/admin"

	"github.com/spf13/cobra"
)

const defaultNamespace = "default"

func (c *ctl) clientsCommand() *cobra.Command {
	var l lister
	var namespace, prefix, listener, node string
	list := leaf("list", "The devices connected to the nodes of the region", func(cmd *cobra.Command, _ []string) error {
		params := url.Values{}
		setParam(params, "namespace", namespace)
		setParam(params, "prefix", prefix)
		setParam(params, "listener", listener)
		setParam(params, "node", node)
		return pages(c, cmd, l, "clients", admin.Path("clients"), params, c.printClients)
	})
	l.flags(list)
	namespaceFlag(list, &namespace, "", "only this namespace")
	list.Flags().StringVar(&prefix, "prefix", "", "only client ids that begin so")
	list.Flags().StringVar(&listener, "listener", "", "only those of this listener")
	list.Flags().StringVar(&node, "node", "", "only those of this node")

	var ns string
	show := leaf("show ID", "One connected device", func(cmd *cobra.Command, args []string) error {
		return get(c, cmd, "clients", admin.Path("clients", ns, args[0]), nil, c.printClient)
	})
	kick := c.changing(leaf("kick ID", "Close a device's connection; its session stays, and it may come back", func(cmd *cobra.Command, args []string) error {
		return c.change(cmd, change{method: http.MethodDelete, feature: "clients", path: admin.Path("clients", ns, args[0])})
	}))
	for _, cmd := range []*cobra.Command{show, kick} {
		namespaceFlag(cmd, &ns, defaultNamespace, "namespace of the client")
	}
	return alias("client", group("clients", "Connected devices",
		`Any node can be asked: it asks the others, each for two seconds, and names
those that did not answer.`, `  causeway ctl clients list --node eu-2
  causeway ctl clients kick car-1 --namespace cars
  causeway ctl clients history car-1
  causeway ctl clients top --by takeovers`, list, show, kick, c.clientsHistory(), c.clientsTop()))
}

func (c *ctl) printClients(w io.Writer, clients []admin.Client) {
	t := c.table("NAMESPACE", "CLIENT", "NODE", "LISTENER", "ADDRESS", "MQTT", "-CONNECTED", "-IN FLIGHT", "-WAITING", "-RECEIVED", "-SENT")
	for _, x := range clients {
		t.row(x.Namespace, x.ClientID, x.Node, x.Listener, x.Address, x.Protocol, ago(c.now(), x.ConnectedAt), x.InFlight, x.Waiting, x.Received, x.Sent)
	}
	t.print(w, "no clients")
}

func (c *ctl) printClient(w io.Writer, x admin.Client) {
	keepAlive := "off"
	if x.KeepAliveSeconds > 0 {
		keepAlive = fmt.Sprintf("%ds", x.KeepAliveSeconds)
	}
	facts(w, "client", x.ClientID, "namespace", x.Namespace, "node", x.Node, "listener", x.Listener, "address", x.Address,
		"user", orDash(x.Username), "protocol", "MQTT "+x.Protocol, "connected", ago(c.now(), x.ConnectedAt)+" ago", "keep-alive", keepAlive,
		"clean start", yesNo(x.CleanStart), "in flight", fmt.Sprint(x.InFlight), "waiting", fmt.Sprint(x.Waiting),
		"messages", fmt.Sprintf("%d received, %d sent", x.Received, x.Sent))
}

func (c *ctl) sessionsCommand() *cobra.Command {
	var l, lq lister
	var namespace, prefix, state, home string
	list := leaf("list", "The sessions of the homes that the region serves", func(cmd *cobra.Command, _ []string) error {
		params := url.Values{}
		setParam(params, "namespace", namespace)
		setParam(params, "prefix", prefix)
		setParam(params, "state", state)
		setParam(params, "home", home)
		return pages(c, cmd, l, "sessions", admin.Path("sessions"), params, c.printSessions)
	})
	l.flags(list)
	namespaceFlag(list, &namespace, "", "only this namespace")
	list.Flags().StringVar(&prefix, "prefix", "", "only client ids that begin so")
	list.Flags().StringVar(&state, "state", "", "only attached or detached ones")
	list.Flags().StringVar(&home, "home", "", "only those of this home; without it, of all that the region serves")

	var ns string
	var will, payload bool
	show := leaf("show ID", "One session with its subscriptions", func(cmd *cobra.Command, args []string) error {
		return get(c, cmd, "sessions", admin.Path("sessions", ns, args[0]), nil, c.printSession)
	})
	queue := leaf("queue ID", "The messages that wait for a session, in order", func(cmd *cobra.Command, args []string) error {
		params := url.Values{}
		if payload {
			params.Set("payload", "true")
		}
		return pages(c, cmd, lq, "sessions", admin.Path("sessions", ns, args[0], "queue"), params, c.printQueue)
	})
	lq.flags(queue)
	queue.Flags().BoolVar(&payload, "payload", false, "show the payloads too (role operator)")
	del := c.changing(leaf("delete ID", "End a session with its queue, and its connection if it has one", func(cmd *cobra.Command, args []string) error {
		params := url.Values{}
		if will {
			params.Set("publish_will", "true")
		}
		return c.change(cmd, change{method: http.MethodDelete, feature: "sessions", path: admin.Path("sessions", ns, args[0]), params: params})
	}))
	del.Flags().BoolVar(&will, "publish-will", false, "publish its will; otherwise it is dropped")
	where := leaf("where ID", "In which region's home a session is: all linked regions are asked", func(cmd *cobra.Command, args []string) error {
		return get(c, cmd, "sessions", admin.Path("sessions", ns, args[0], "where"), nil, c.printWhereabouts)
	})
	var to string
	move := c.changing(leaf("move ID", "Bring a session of this region to another region's home, with what waits for it", func(cmd *cobra.Command, args []string) error {
		return c.change(cmd, change{method: http.MethodPost, feature: "sessions", path: admin.Path("sessions", ns, args[0], "move"), params: url.Values{"to": {to}}})
	}))
	move.Flags().StringVar(&to, "to", "", "the region that is to have it (required)")
	_ = move.MarkFlagRequired("to")
	for _, cmd := range []*cobra.Command{show, queue, del, where, move} {
		namespaceFlag(cmd, &ns, defaultNamespace, "namespace of the session")
	}
	return alias("session", group("sessions", "What the homes that the region serves keep of devices", "", "", list, show, queue, where, move, del, c.sessionsExport(), c.sessionsTop()))
}

func (c *ctl) printSessions(w io.Writer, sessions []admin.Session) {
	t := c.table("NAMESPACE", "CLIENT", "HOME", "STATE", "OWNER", "-QUEUED", "-BYTES", "EXPIRY", "EXPIRES IN")
	for _, s := range sessions {
		t.row(s.Namespace, s.ClientID, orDash(s.Home), s.State, orDash(s.Owner), s.Queued, admin.FormatBytes(s.QueuedBytes), expiry(s), until(c.now(), s.ExpiresAt))
	}
	t.print(w, "no sessions")
}

func (c *ctl) printWhereabouts(w io.Writer, x admin.Whereabouts) {
	t := c.table("HOME", "STATE", "-EPOCH", "-QUEUED", "WHY")
	for _, h := range x.Homes {
		t.row(h.Home, h.State, h.Epoch, h.Queued, orDash(h.Why))
	}
	t.print(w, "no homes")
}

func expiry(s admin.Session) string {
	switch {
	case s.Transient:
		return "with its connection"
	case s.ExpirySeconds == admin.NeverExpires:
		return "never"
	}
	return admin.FormatDuration(time.Duration(s.ExpirySeconds) * time.Second)
}

func (c *ctl) printSession(w io.Writer, d admin.SessionDetail) {
	s := d.Session
	facts(w, "session", s.ClientID, "namespace", s.Namespace, "home", s.Home, "epoch", fmt.Sprint(s.Epoch), "state", s.State, "owner", orDash(s.Owner),
		"expiry", expiry(s), "expires in", until(c.now(), s.ExpiresAt), "queue", fmt.Sprintf("%d messages, %s", s.Queued, admin.FormatBytes(s.QueuedBytes)),
		"inbound QoS 2", fmt.Sprintf("%d ids wait for PUBREL", s.InboundIDs), "will", yesNo(s.Will))
	fmt.Fprintln(w)
	t := c.table("FILTER", "-QOS", "-ID", "OPTIONS")
	for _, x := range d.Subscriptions {
		var options []string
		if x.NoLocal {
			options = append(options, "no local")
		}
		if x.RetainAsPublished {
			options = append(options, "retain as published")
		}
		if x.RetainHandling > 0 {
			options = append(options, fmt.Sprintf("retain handling %d", x.RetainHandling))
		}
		id := "-"
		if x.ID > 0 {
			id = fmt.Sprint(x.ID)
		}
		t.row(x.Filter, x.QoS, id, orDash(strings.Join(options, ", ")))
	}
	t.print(w, "no subscriptions")
}

func (c *ctl) printQueue(w io.Writer, queue []admin.QueuedMessage) {
	t := c.table("-REF", "-PACKET", "TOPIC", "-QOS", "-BYTES", "STATE", "EXPIRES IN", "PAYLOAD")
	for _, m := range queue {
		state := "waits"
		if m.Received {
			state = "received"
		}
		t.row(m.Ref, m.PacketID, m.Topic, m.QoS, admin.FormatBytes(m.Bytes), state, until(c.now(), m.ExpiresAt), payloadCell(m.Payload))
	}
	t.print(w, "the queue is empty")
}

// payloadCell writes a payload as text if it is text.
func payloadCell(b []byte) string {
	switch {
	case b == nil:
		return "-"
	case len(b) == 0:
		return "(empty)"
	case isText(b):
		return string(b)
	}
	return fmt.Sprintf("%x", b)
}
