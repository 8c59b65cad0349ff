package canary

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"causeway/broker/packet"
	"causeway/internal/drill"
	"causeway/internal/load"
)

// Config is the first line that a canary process reads.
type Config struct {
	Drill     string   `json:"drill"` // id; part of client ids and topics
	Round     int      `json:"round"` // how often canaries of the drill were started before: part of client ids
	First     int      `json:"first"` // of a round's pairs, the first of this process
	Pairs     int      `json:"pairs"`
	Client    string   `json:"client"` // see drill.CanaryClients
	Region    string   `json:"region"`
	Addresses []string `json:"addresses"` // mqtt://…, in the order in which a device tries them
	// To, if set, are where the subscribers are, at home in another region.
	To        []string      `json:"to"`
	Across    bool          `json:"across"`
	Rate      float64       `json:"rate"` // messages a second of all pairs
	Payload   int           `json:"payload"`
	ClientID  string        `json:"client_id"`
	Topic     string        `json:"topic"`
	Username  string        `json:"username"`
	Password  string        `json:"password_file"`
	Cert      string        `json:"cert"`
	Key       string        `json:"key"`
	CA        string        `json:"ca"`
	Redial    time.Duration `json:"redial"`
	KeepAlive time.Duration `json:"keep_alive"`
	Ledger    string        `json:"ledger"`     // the file to write
	MissingIn time.Duration `json:"missing_in"` // after how long a message counts as missing, for guardrails
}

const (
	liveEvery = 500 * time.Millisecond
	missingIn = 15 * time.Second
	lateAfter = 3 * time.Second
	connectIn = time.Minute
	window    = 32
	maxEarly  = 10000
)

// Run reads a Config from in, runs the canaries, and writes a drill.Live twice a second to out. The
// line "settle" has the publishers stop; it ends when in does, or ctx.
func Run(ctx context.Context, in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	if !lines.Scan() {
		return fmt.Errorf("read the configuration of the canaries: %w", errors.Join(lines.Err(), io.ErrUnexpectedEOF))
	}
	var c Config
	if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
		return fmt.Errorf("read the configuration of the canaries: %w", err)
	}
	f, err := start(ctx, c)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	var told sync.WaitGroup
	told.Go(func() { f.tell(ctx, out) })
	commands := make(chan string)
	go func() { // ends with in, which is closed with the process at the latest
		defer close(commands)
		for lines.Scan() {
			commands <- lines.Text()
		}
	}()
	for open := true; open; {
		select {
		case line, ok := <-commands:
			if open = ok; line == "settle" {
				f.halt()
			}
		case <-ctx.Done():
			open = false
		}
	}
	stop()
	told.Wait()
	return f.stop()
}

// fleet is the devices with their ledger.
type fleet struct {
	c     Config
	pairs []*pair
	wills *load.Device
	book  *book
	tls   *tls.Config
	pass  string

	pace   sync.WaitGroup
	cancel context.CancelFunc
}

// publisher and subscriber are the ends of a pair: devices of this program's own, or clients of another make.
type publisher interface {
	Allow(n uint64) // lets it send its messages up to one
	Halt()          // takes back what was not sent yet
	subscriber
}

type subscriber interface{ Stop() }

// pair is a publisher, its subscriber, and what is under way between them.
type pair struct {
	stream *load.Stream
	blind  bool // of another make: nothing is known of its connections
	pub    publisher
	sub    subscriber

	mu       sync.Mutex
	waiting  map[uint64]time.Time // acknowledged and not arrived, since
	early    map[uint64]bool      // arrived before it was acknowledged
	signs    [2]time.Time         // the last acknowledgement or arrival of each end
	up       [2]bool
	served   [2]bool
	unacked  int
	connects uint64
}

func start(ctx context.Context, c Config) (_ *fleet, err error) {
	f := &fleet{c: c, cancel: func() {}}
	if f.c.MissingIn == 0 {
		f.c.MissingIn = missingIn
	}
	if c.Password != "" {
		b, err := os.ReadFile(c.Password)
		if err != nil {
			return nil, fmt.Errorf("canaries.password_file: %w", err)
		}
		f.pass = strings.TrimSpace(string(b))
	}
	if f.tls, err = tlsOf(&c); err != nil {
		return nil, err
	}
	if f.book, err = newBook(c.Ledger); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.stop())
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, connectIn)
	defer cancel()
	if err := f.watchWills(ctx); err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	slots := make(chan struct{}, 32)
	for i := range c.Pairs {
		p := &pair{stream: &load.Stream{}, waiting: map[uint64]time.Time{}, early: map[uint64]bool{}}
		f.pairs = append(f.pairs, p)
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if e := f.connect(ctx, i, p); e != nil {
				mu.Lock()
				defer mu.Unlock()
				err = errors.Join(err, e)
			}
		})
	}
	all.Wait()
	if err != nil {
		return nil, err
	}
	f.publish()
	return f, nil
}

func (f *fleet) number(i int) uint32 { return uint32(f.c.Round*drill.RoundStep + f.c.First + i) }

// qos is that of a pair.
func qos(number uint32) byte { return byte(1 + number%2) }

func (f *fleet) id(what string, i int) string {
	return fmt.Sprintf("%s%s-%d-%s-%d", f.c.ClientID, f.c.Drill, f.c.Round, what, f.number(i))
}

// topic is the same in all rounds: what a resumed drill's canaries subscribe to is wanted already where the link that would
// tell is cut.
func (f *fleet) topic(i int) string {
	return fmt.Sprintf("%s/%s/%d", f.c.Topic, f.c.Drill, f.c.First+i)
}

func (f *fleet) willTopic(i int) string {
	return fmt.Sprintf("%s/%s/wills/%d", f.c.Topic, f.c.Drill, f.number(i))
}

// device is what all have in common.
func (f *fleet) device(addresses []string) load.Options {
	o := load.Options{Addr: addresses[0], Others: addresses[1:], Reconnect: true, Redial: f.c.Redial, KeepAlive: f.c.KeepAlive, Username: f.c.Username, Password: f.pass,
		Version: packet.V311, Dial: f.dial, Window: window, Buffer: 4 << 10}
	if f.c.Client == "5" {
		o.Version = packet.V5
	}
	return o
}

// dial connects to an address as a plan writes it.
func (f *fleet) dial(address string) (net.Conn, error) {
	at, secure, err := drill.SplitAddress(address)
	if err != nil {
		return nil, err
	}
	d := net.Dialer{Timeout: 2 * time.Second}
	if !secure {
		return d.Dial("tcp", at)
	}
	return tls.DialWithDialer(&d, "tcp", at, f.tls)
}

func tlsOf(c *Config) (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, fmt.Errorf("canaries.ca: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("canaries.ca: there is no certificate in %s", c.CA)
		}
	}
	if c.Cert != "" {
		pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
		if err != nil {
			return nil, fmt.Errorf("canaries.cert and key: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}

func (f *fleet) subscribers() []string {
	if len(f.c.To) > 0 {
		return f.c.To
	}
	return f.c.Addresses
}

func (f *fleet) watchWills(ctx context.Context) (err error) {
	o := f.device(f.c.Addresses)
	o.ID, o.Filter, o.QoS = f.id("wills", 0), fmt.Sprintf("%s/%s/wills/+", f.c.Topic, f.c.Drill), 1
	o.Streams = map[uint32]*load.Stream{}
	for i := range f.c.Pairs {
		o.Streams[load.WillOf(f.number(i))] = &load.Stream{}
	}
	o.Foreign = true // wills of other processes come, too
	n := f.book.canary(drill.Canary{ID: o.ID, Client: f.client(), Region: f.c.Region, Role: "wills", QoS: 1})
	o.Trace = func(s load.Seen) {
		switch s.What {
		case load.Arrived:
			f.book.add(drill.Entry{At: s.At.UnixNano(), Saw: drill.SawWill, Device: n, Stream: s.Stream &^ load.WillOf(0), N: s.N})
		case load.Connected, load.Lost:
			f.book.saw(n, s)
		}
	}
	f.wills, err = load.Start(ctx, o)
	return err
}

// client is what speaks at this process's own devices.
func (f *fleet) client() string {
	if f.c.Client == "5" {
		return "causeway 5"
	}
	return "causeway 3.1.1"
}

func (f *fleet) connect(ctx context.Context, i int, p *pair) (err error) {
	if p.blind = foreignClient(f.c.Client); p.blind {
		sub, err := f.startForeign(ctx, i, p, false)
		if err != nil {
			return err
		}
		p.sub = sub
		pub, err := f.startForeign(ctx, i, p, true)
		if err == nil {
			p.pub = pub
		}
		return err
	}
	n := f.number(i)
	q := qos(n)
	o := f.device(f.subscribers())
	o.ID, o.Filter, o.QoS, o.Streams = f.id("sub", i), f.topic(i), q, map[uint32]*load.Stream{n: p.stream}
	o.Foreign = f.c.Round > 0 // what canaries of an earlier round sent may come yet
	sub := f.book.canary(drill.Canary{ID: o.ID, Client: f.client(), Region: f.c.Region, Role: "sub", QoS: q, Stream: n, Across: f.c.Across})
	o.Trace = func(s load.Seen) { p.saw(1, s); f.book.saw(sub, s) }
	there, err := load.Start(ctx, o)
	if err != nil {
		return err
	}
	p.sub = there
	o = f.device(f.c.Addresses)
	o.ID, o.Topic, o.QoS, o.Number, o.Out, o.Payload, o.Will = f.id("pub", i), f.topic(i), q, n, p.stream, f.c.Payload, f.willTopic(i)
	pub := f.book.canary(drill.Canary{ID: o.ID, Client: f.client(), Region: f.c.Region, Role: "pub", QoS: q, Stream: n, Across: f.c.Across})
	o.Trace = func(s load.Seen) { p.saw(0, s); f.book.saw(pub, s) }
	here, err := load.Start(ctx, o)
	if err == nil {
		p.pub = here
	}
	return err
}

// saw keeps what is under way. end is 0 for the publisher.
func (p *pair) saw(end int, s load.Seen) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch s.What {
	case load.Connected:
		p.up[end], p.served[end] = true, false
		p.connects++
	case load.Lost:
		p.up[end], p.served[end] = false, false
	case load.Sent:
		p.unacked++
	case load.Acked:
		p.unacked--
		p.signs[end], p.served[end] = s.At, true
		if p.early[s.N] {
			delete(p.early, s.N)
		} else {
			p.waiting[s.N] = s.At
		}
	case load.Arrived:
		p.signs[end], p.served[end] = s.At, true
		if _, acked := p.waiting[s.N]; acked {
			delete(p.waiting, s.N)
		} else {
			if len(p.early) >= maxEarly {
				clear(p.early) // what comes twice stays here for good
			}
			p.early[s.N] = true
		}
	}
}

// publish lets all publishers send at the rate, until halt.
func (f *fleet) publish() {
	if f.c.Rate <= 0 || len(f.pairs) == 0 {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.cancel = cancel
	step := time.Duration(float64(time.Second) / f.c.Rate)
	f.pace.Go(func() {
		tick := time.NewTicker(max(step, 5*time.Millisecond))
		defer tick.Stop()
		began := time.Now()
		for done := uint64(0); ; {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			for due := uint64(time.Since(began) / step); done < due; done++ {
				p := f.pairs[done%uint64(len(f.pairs))]
				p.pub.Allow(done/uint64(len(f.pairs)) + 1)
			}
		}
	})
}

// halt has the publishers stop.
func (f *fleet) halt() {
	f.cancel()
	f.pace.Wait()
	for _, p := range f.pairs {
		if p.pub != nil {
			p.pub.Halt()
		}
	}
}

// tell writes how it is going.
func (f *fleet) tell(ctx context.Context, out io.Writer) {
	enc := json.NewEncoder(out)
	tick := time.NewTicker(liveEvery)
	defer tick.Stop()
	for {
		if enc.Encode(f.live()) != nil {
			return // nobody listens any more; in ends, too
		}
		f.book.flush()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (f *fleet) live() drill.Live {
	now := time.Now()
	l := drill.Live{Settled: true}
	for _, p := range f.pairs {
		l.Sent += p.stream.Sent.Load()
		l.Acked += p.stream.Acked.Load()
		l.Received += p.stream.Received.Load()
		p.mu.Lock()
		ends := []int{0, 1}
		if p.blind {
			ends = nil
		}
		both := !p.blind
		for _, e := range ends {
			l.Devices++
			if p.up[e] {
				l.Connected++
			}
			if p.served[e] {
				l.Served++
			}
			both = both && p.up[e]
			if at := p.signs[e]; !at.IsZero() && f.c.Rate > 0 {
				l.Silence = max(l.Silence, now.Sub(at).Seconds())
			}
		}
		l.Waiting += uint64(len(p.waiting))
		l.Connects += p.connects
		for _, since := range p.waiting {
			if now.Sub(since) > lateAfter {
				l.Late++
			}
			if both && now.Sub(since) > f.c.MissingIn {
				l.Missing++
			}
		}
		l.Settled = l.Settled && len(p.waiting) == 0 && p.unacked == 0
		p.mu.Unlock()
	}
	l.Silence = math.Round(l.Silence*1000) / 1000
	return l
}

// stop disconnects all and closes the ledger.
func (f *fleet) stop() error {
	f.cancel()
	f.pace.Wait()
	var all sync.WaitGroup
	for _, p := range f.pairs {
		for _, end := range []subscriber{p.pub, p.sub} {
			if end != nil {
				all.Go(end.Stop)
			}
		}
	}
	if f.wills != nil {
		all.Go(f.wills.Stop)
	}
	all.Wait()
	return f.book.close()
}
