package broker

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"causeway/broker/packet"
	"causeway/internal/home"
)

// The home of these benchmarks applies without a disk, so the figures are the edge's and the state machine's.

const benchPayload = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// BenchmarkFanIn is many publishers and one subscriber; an op is one message from socket to socket.
func BenchmarkFanIn(b *testing.B) {
	for _, qos := range []byte{0, 1} {
		b.Run(fmt.Sprintf("qos%d", qos), func(b *testing.B) { benchFanIn(b, qos, 8) })
	}
}

func benchFanIn(b *testing.B, qos byte, publishers int) {
	l := newLab(b)
	sub := l.connect(packet.V5, "sub")
	sub.subscribe(qos, "t/#")
	var got atomic.Int64
	all := make(chan struct{})
	go func() {
		defer close(all)
		for got.Load() < int64(b.N) {
			f, err := sub.next(30 * time.Second)
			if err != nil {
				b.Error(err)
				return
			}
			if f.h.Type != packet.PUBLISH {
				continue
			}
			got.Add(1)
			if qos == 1 {
				p := sub.asPublish(f)
				sub.send(packet.AppendAck(nil, sub.v, packet.PUBACK, p.PacketID, 0))
			}
		}
	}()
	devices := make([]*device, publishers)
	for i := range devices {
		devices[i] = l.connect(packet.V5, "pub"+strconv.Itoa(i))
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i, d := range devices {
		n := b.N / publishers
		if i == 0 {
			n += b.N % publishers
		}
		go d.flood(fmt.Sprintf("t/%d", i), qos, n, &got, b.N)
	}
	<-all
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	if n := l.s.Stats().Dropped[DropMemoryFull].Load(); n > 0 {
		b.Errorf("%d dropped", n)
	}
}

// flood publishes n messages in bursts of 64 and waits for their acknowledgements. It keeps the subscriber, which is a
// test's and slow, no more than 20,000 behind: the broker would drop, or close it.
func (d *device) flood(topic string, qos byte, n int, got *atomic.Int64, total int) {
	sent := 0
	for n > 0 {
		burst := min(n, 64)
		var out []byte
		for i := range burst {
			out = packet.AppendPublish(out, d.v, pub(topic, benchPayload, qos, uint16(i+1)))
		}
		if _, err := d.nc.Write(out); err != nil {
			return
		}
		for range burst * int(qos) {
			if _, err := d.next(30 * time.Second); err != nil {
				return
			}
		}
		n, sent = n-burst, sent+burst
		for int64(sent) > got.Load()/8+2000 && got.Load() < int64(total) {
			time.Sleep(50 * time.Microsecond)
		}
	}
}

// BenchmarkFanOut is one publisher and 200 subscribers; an op is one delivered copy.
func BenchmarkFanOut(b *testing.B) {
	const subs = 200
	l := newLab(b)
	var got atomic.Int64
	for i := range subs {
		d := l.connect(packet.V5, "sub"+strconv.Itoa(i))
		d.subscribe(0, "t")
		go func() {
			buf := make([]byte, 64<<10)
			size := len(packet.AppendPublish(nil, d.v, pub("t", benchPayload, 0, 0)))
			for read := 0; ; {
				n, err := d.nc.Read(buf)
				if err != nil {
					return
				}
				got.Add(int64((read+n)/size - read/size))
				read += n
			}
		}()
	}
	d := l.connect(packet.V5, "pub")
	p := packet.AppendPublish(nil, d.v, pub("t", benchPayload, 0, 0))
	b.ReportAllocs()
	b.ResetTimer()
	for sent := int64(0); sent < int64(b.N); sent += subs {
		d.send(p)
		for sent > got.Load()+50*subs {
			time.Sleep(20 * time.Microsecond)
		}
	}
	for end := time.Now().Add(30 * time.Second); got.Load() < int64(b.N); time.Sleep(50 * time.Microsecond) {
		if time.Now().After(end) {
			b.Fatalf("%d of %d copies came", got.Load(), b.N)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "copies/s")
}

// BenchmarkDeliver is the part of a delivery between the home and the socket; an op is one copy at QoS 0.
func BenchmarkDeliver(b *testing.B) {
	l := newLab(b)
	d := l.connect(packet.V5, "sub")
	d.subscribe(0, "t")
	c := l.house.sessions.get(key("sub"))
	go func() {
		buf := make([]byte, 64<<10)
		for {
			if _, err := d.nc.Read(buf); err != nil {
				return
			}
		}
	}()
	m := &home.Message{Namespace: "ns", Topic: "t", Payload: []byte(benchPayload)}
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		for l.s.stats.MemoryBytes.Load() > 1<<20 {
			runtime.Gosched()
		}
		c.deliver(item{msg: m})
	}
}

// BenchmarkIdleConnection opens connections that then say nothing, and reports what each adds to the process. The
// devices are bare sockets, so that only the broker's side has Go's memory.
func BenchmarkIdleConnection(b *testing.B) {
	const n = 5000
	l := newLab(b)
	port := l.s.Addr("tcp").(*net.TCPAddr).Port
	before := rss(b)
	began := time.Now()
	fds := make([]int, 0, n)
	defer func() {
		for _, fd := range fds {
			syscall.Close(fd)
		}
		eventually(b, "all gone", func() bool { return l.s.Stats().Listeners["tcp"].Open.Load() == 0 })
	}()
	for i := range n {
		fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
		if err == nil {
			err = syscall.Connect(fd, &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
		}
		if err != nil {
			b.Fatal(err)
		}
		fds = append(fds, fd)
		hello := packet.AppendConnect(nil, &packet.Connect{
			Version: packet.V5, ClientID: "car-" + strconv.Itoa(i), KeepAlive: 600, SessionExpiry: 3600, ReceiveMaximum: 20,
		})
		if _, err := syscall.Write(fd, hello); err != nil {
			b.Fatal(err)
		}
	}
	eventually(b, "all connected", func() bool { return l.s.Stats().Listeners["tcp"].Connects[ConnectOK].Load() == n })
	took := time.Since(began)
	var ms runtime.MemStats
	debug.FreeOSMemory()
	debug.FreeOSMemory()
	runtime.ReadMemStats(&ms)
	b.ReportMetric(float64(rss(b)-before)/n, "rss-B/conn")
	b.ReportMetric(float64(ms.StackInuse)/n, "stack-B/conn")
	b.ReportMetric(float64(runtime.NumGoroutine())/n, "goroutines/conn")
	b.ReportMetric(n/took.Seconds(), "connects/s")
	b.ReportMetric(0, "ns/op")
}

// rss is the resident memory of this process in bytes.
func rss(b *testing.B) int64 {
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Skip("no /proc")
	}
	pages, err := strconv.ParseInt(strings.Fields(string(data))[1], 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}
