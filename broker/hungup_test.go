package broker

import (
	"net"
	"testing"
	"time"
)

func TestHungUp_SeesTheEnd(t *testing.T) {
	for name, unread := range map[string]string{"behind nothing": "", "behind what was not read": "PUBLISH"} {
		t.Run(name, func(t *testing.T) { seesTheEnd(t, unread) })
	}
}

func seesTheEnd(t *testing.T, unread string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	device, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	sock, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close()
	if hungUp(sock) {
		t.Error("a connection that is silent counts as hung up")
	}
	if _, err := device.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	if _, err := sock.Read(b[:]); err != nil || hungUp(sock) {
		t.Errorf("a connection that was read from counts as hung up, %v", err)
	}
	if _, err := device.Write([]byte(unread)); err != nil {
		t.Fatal(err)
	}
	if hungUp(sock) {
		t.Error("a connection with something to read counts as hung up")
	}
	device.Close()
	for deadline := time.Now().Add(10 * time.Second); !hungUp(sock); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a device that closed its connection does not count as hung up")
		}
	}
	pipe, other := net.Pipe()
	defer other.Close()
	if pipe.Close(); hungUp(pipe) {
		t.Error("what has no file descriptor cannot be known to have hung up")
	}
}
