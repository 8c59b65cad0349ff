package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"sort"
	"strconv"
	"strings"
	"time"

	"causeway/internal/load"
)

// probe is what is read of a broker's processes.
type probe struct {
	cpu     time.Duration
	rss     int64
	commits histogram          // ours only
	bytes   map[string]float64 // sent over links, by form; ours only
}

func (x *broker) probe() (p probe, err error) {
	list, err := load.UsageOf(x.pids...)
	if err != nil {
		return p, err
	}
	for _, u := range list {
		p.cpu += u.CPU
		p.rss += u.RSS
	}
	if x.trial == nil {
		return p, nil
	}
	p.commits, p.bytes = histogram{}, map[string]float64{}
	for _, n := range x.trial.Nodes[:len(x.pids)] {
		if err := p.commits.scrape(n.Metrics, "causeway_home_commit_seconds"); err != nil {
			return p, err
		}
		for _, form := range []string{"raw", "wire", "transport"} {
			v, err := counter(n.Metrics, fmt.Sprintf(`causeway_link_bytes_total{direction="out",form=%q,`, form))
			if err != nil {
				return p, err
			}
			p.bytes[form] += v
		}
	}
	return p, nil
}

// whereTheyAre prints what each node says of messages that did not arrive: those it
// dropped, by reason, and those that wait.
func (x *broker) whereTheyAre() {
	if x.trial == nil {
		return
	}
	for _, n := range x.trial.Nodes[:len(x.pids)] {
		resp, err := http.Get("http://" + n.Metrics + "/metrics")
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			continue
		}
		for in := bufio.NewScanner(resp.Body); in.Scan(); {
			name, _, _ := strings.Cut(in.Text(), "{")
			told := strings.HasSuffix(name, "dropped_total") || strings.HasSuffix(name, "_messages") || strings.HasSuffix(name, "queued")
			if told && strings.HasPrefix(name, "causeway_") && !strings.HasSuffix(in.Text(), " 0") {
				fmt.Fprintf(os.Stderr, "bench: %s-%s: %s\n", n.Region, n.Name, in.Text())
			}
		}
		_ = resp.Body.Close()
	}
}

// counter adds up the samples of a node's metrics that begin with text.
func counter(addr, text string) (sum float64, err error) {
	resp, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	for in := bufio.NewScanner(resp.Body); in.Scan(); {
		if strings.HasPrefix(in.Text(), text) {
			v, err := strconv.ParseFloat(in.Text()[strings.LastIndexByte(in.Text(), ' ')+1:], 64)
			if err != nil {
				return 0, fmt.Errorf("metric %s: %w", text, err)
			}
			sum += v
		}
	}
	return sum, nil
}

// histogram is a Prometheus histogram: how many were at most so many seconds.
type histogram map[float64]float64

// scrape adds what a node's metrics say.
func (h histogram) scrape(addr, name string) error {
	resp, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return h.read(resp.Body, name)
}

func (h histogram) read(r io.Reader, name string) error {
	for in := bufio.NewScanner(r); in.Scan(); {
		rest, ok := strings.CutPrefix(in.Text(), name+"_bucket{")
		if !ok {
			continue
		}
		labels, value, _ := strings.Cut(rest, "} ")
		_, le, _ := strings.Cut(labels, `le="`)
		le, _, _ = strings.Cut(le, `"`)
		bound, err := strconv.ParseFloat(le, 64)
		count, err2 := strconv.ParseFloat(value, 64)
		if err != nil || err2 != nil {
			return fmt.Errorf("metric %s: %q", name, in.Text())
		}
		h[bound] += count
	}
	if len(h) == 0 {
		return fmt.Errorf("there is no metric %s", name)
	}
	return nil
}

func (h histogram) minus(o histogram) histogram {
	d := histogram{}
	for bound, n := range h {
		d[bound] = n - o[bound]
	}
	return d
}

// quantile interpolates inside a bucket.
func (h histogram) quantile(q float64) float64 {
	var bounds []float64
	for b := range h {
		bounds = append(bounds, b)
	}
	sort.Float64s(bounds)
	if len(bounds) == 0 {
		return 0
	}
	want, under, from := q*h[bounds[len(bounds)-1]], 0.0, 0.0
	for _, b := range bounds {
		if h[b] >= want && h[b] > under {
			return from + (b-from)*(want-under)/(h[b]-under)
		}
		under, from = h[b], b
	}
	return from
}
