package main

import (
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// cable is UDP between two sites that can be cut, slowed and made to lose packets.
type cable struct {
	conn *net.UDPConn
	to   *net.UDPAddr

	mu    sync.Mutex
	cut   bool
	delay time.Duration
	loss  float64
	back  map[string]*net.UDPConn
}

func newCable(target string) (*cable, error) {
	to, err := net.ResolveUDPAddr("udp", target)
	if err != nil {
		return nil, err
	}
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	c := &cable{conn: conn, to: to, back: map[string]*net.UDPConn{}}
	go c.forward()
	return c, nil
}

func (c *cable) set(cut bool, delay time.Duration, loss float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut, c.delay, c.loss = cut, delay, loss
}

// pass sends a packet on, later or never, as the cable is.
func (c *cable) pass(b []byte, send func([]byte)) {
	c.mu.Lock()
	cut, delay, loss := c.cut, c.delay, c.loss
	c.mu.Unlock()
	switch {
	case cut || loss > 0 && rand.Float64() < loss:
	case delay == 0:
		send(b)
	default:
		p := append([]byte{}, b...)
		time.AfterFunc(delay, func() { send(p) })
	}
}

func (c *cable) forward() {
	b := make([]byte, 1<<16)
	for {
		n, from, err := c.conn.ReadFromUDP(b)
		if err != nil {
			return
		}
		if out := c.towards(from); out != nil {
			c.pass(b[:n], func(p []byte) { _, _ = out.Write(p) })
		}
	}
}

func (c *cable) towards(from *net.UDPAddr) *net.UDPConn {
	c.mu.Lock()
	defer c.mu.Unlock()
	if out := c.back[from.String()]; out != nil {
		return out
	}
	out, err := net.DialUDP("udp", nil, c.to)
	if err != nil {
		return nil
	}
	c.back[from.String()] = out
	go func() {
		b := make([]byte, 1<<16)
		for {
			n, err := out.Read(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				c.pass(b[:n], func(p []byte) { _, _ = c.conn.WriteToUDP(p, from) })
			}
		}
	}()
	return out
}

func (c *cable) close() {
	_ = c.conn.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, out := range c.back {
		_ = out.Close()
	}
}
