package broker

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	mqtt "github.com/eclipse/paho.mqtt.golang"

	"causeway/broker/packet"
)

// Clients that people use, in the same process: what our own test device believes about MQTT is not enough.

func TestReal_PahoGoV3(t *testing.T) {
	l := newLab(t)
	opts := mqtt.NewClientOptions().AddBroker("tcp://"+l.s.Addr("tcp").String()).SetClientID("paho3").
		SetCleanSession(false).SetAutoReconnect(false).SetWill("will", "bye", 1, false)
	got := make(chan string, 100)
	opts.SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { got <- string(m.Payload()) })
	c := mqtt.NewClient(opts)
	ok := func(tok mqtt.Token) {
		t.Helper()
		if !tok.WaitTimeout(patience) || tok.Error() != nil {
			t.Fatalf("token: %v", tok.Error())
		}
	}
	ok(c.Connect())
	ok(c.SubscribeMultiple(map[string]byte{"a/+": 2, "b": 0}, nil))
	for i := range 30 {
		ok(c.Publish(fmt.Sprintf("a/%d", i), byte(i%3), false, fmt.Sprint(i)))
	}
	seen := map[string]int{}
	for range 30 {
		select {
		case s := <-got:
			seen[s]++
		case <-time.After(patience):
			t.Fatalf("only %d messages", len(seen))
		}
	}
	if len(seen) != 30 {
		t.Errorf("%d different messages", len(seen))
	}
	ok(c.Unsubscribe("a/+"))
	c.Disconnect(100)
}

func TestReal_PahoV5(t *testing.T) {
	l := newLab(t)
	nc, err := net.Dial("tcp", l.s.Addr("tcp").String())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	got := make(chan *paho.Publish, 100)
	c := paho.NewClient(paho.ClientConfig{Conn: nc, ClientID: "paho5", OnPublishReceived: []func(paho.PublishReceived) (bool, error){
		func(r paho.PublishReceived) (bool, error) { got <- r.Packet; return true, nil },
	}})
	expiry := uint32(600)
	ack, err := c.Connect(ctx, &paho.Connect{ClientID: "paho5", KeepAlive: 30, CleanStart: true,
		Properties: &paho.ConnectProperties{SessionExpiryInterval: &expiry}})
	if err != nil {
		t.Fatal(err)
	}
	if *ack.Properties.ReceiveMaximum != 1024 || !ack.Properties.SharedSubAvailable {
		t.Errorf("CONNACK %+v", ack.Properties)
	}
	if _, err := c.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "a", QoS: 2}}}); err != nil {
		t.Fatal(err)
	}
	for i := range 30 {
		p := &paho.Publish{Topic: "a", QoS: byte(i % 3), Payload: []byte(fmt.Sprint(i)), Properties: &paho.PublishProperties{
			ContentType: "text", User: paho.UserProperties{{Key: "n", Value: fmt.Sprint(i)}}}}
		if _, err := c.Publish(ctx, p); err != nil {
			t.Fatal(err)
		}
	}
	for range 30 {
		select {
		case p := <-got:
			if p.Properties.ContentType != "text" || p.Properties.User[0].Value != string(p.Payload) {
				t.Errorf("got %+v", p)
			}
		case <-ctx.Done():
			t.Fatal("messages are missing")
		}
	}
	if _, err := c.Unsubscribe(ctx, &paho.Unsubscribe{Topics: []string{"a"}}); err != nil {
		t.Error(err)
	}
	if err := c.Disconnect(&paho.Disconnect{}); err != nil {
		t.Error(err)
	}
}

func TestUnsubscribe_SaysWhatWasThere(t *testing.T) {
	l := newLab(t)
	for _, v := range versions {
		d := l.connect(v, "dev")
		d.subscribe(1, "a", "b")
		d.send(packet.AppendUnsubscribe(nil, v, &packet.Unsubscribe{PacketID: 9, Filters: []string{"a", "never"}}))
		f := d.read()
		if f.h.Type != packet.UNSUBACK {
			t.Fatalf("got %s", f.h.Type)
		}
		ack, err := packet.DecodeUnsuback(f.body, v)
		if err != nil || ack.PacketID != 9 {
			t.Fatalf("%+v, %v", ack, err)
		}
		if v == packet.V5 && (ack.Codes[0] != packet.Success || ack.Codes[1] != packet.NoSubscriptionExisted) {
			t.Errorf("codes %v", ack.Codes)
		}
		d.publish(pub("a", "x", 0, 0))
		d.silent()
	}
}
