package admin

import (
	"errors"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Observe records one duration. It takes a fraction of a microsecond, never blocks and may be
// called from any goroutine.
type Observe func(time.Duration)

// Metrics are the numbers of one node, served as an http.Handler in Prometheus's text form. What
// the parts of the node count themselves is asked for at each scrape (Node.Status, Node.Counts);
// durations are pushed here as they are measured. Labels have few values: never a client id, a
// topic or an address.
type Metrics struct {
	registry *prometheus.Registry
	page     http.Handler
	ack      *prometheus.HistogramVec
	connect  *prometheus.HistogramVec

	auditFailed prometheus.Counter

	stages stages

	mu       sync.Mutex
	dropped  map[[2]string]int64 // by place and reason
	attached bool
}

// NewMetrics returns the metrics of a process: its build, the Go runtime and the process itself
// are in it from the start.
func NewMetrics(b Build) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), dropped: map[[2]string]int64{}}
	m.ack = histogram("causeway_publish_ack_seconds", "From a PUBLISH to its PUBACK or PUBREC, by ack policy and QoS.",
		prometheus.ExponentialBuckets(0.0002, 2, 17), "policy", "qos")
	m.connect = histogram("causeway_connect_duration_seconds", "Of connections, from accept to CONNACK, by stage: the queue before TLS, TLS, CONNECT, authentication, attaching the session.",
		prometheus.ExponentialBuckets(0.0002, 2, 18), "stage")
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "causeway_build_info", Help: "Always 1; the labels name the build.",
		ConstLabels: prometheus.Labels{"version": b.Version, "revision": b.Revision, "goversion": runtime.Version()}})
	build.Set(1)
	m.auditFailed = prometheus.NewCounter(prometheus.CounterOpts{Name: "causeway_audit_failures_total",
		Help: "Records that could not be written to the audit log."})
	m.registry.MustRegister(m.ack, m.connect, m.auditFailed, build, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.page = promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 4, Timeout: 10 * time.Second,
	})
	return m
}

func histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
}

func observer(h *prometheus.HistogramVec, labels ...string) Observe {
	o := h.WithLabelValues(labels...)
	return func(d time.Duration) { o.Observe(d.Seconds()) }
}

// PublishAck returns the observer of the time a publisher waits under a policy (region, memory).
// Callers keep it.
func (m *Metrics) PublishAck(policy string, qos byte) Observe {
	return observer(m.ack, policy, strconv.Itoa(int(qos)))
}

// ConnectStage returns the observer of how long a stage of a connection's beginning took. Callers keep it.
func (m *Metrics) ConnectStage(stage string) Observe {
	m.stages.know(stage)
	count := observer(m.connect, stage)
	return func(d time.Duration) {
		count(d)
		m.stages.add(stage, d, time.Now())
	}
}

// Dropped counts n messages that were dropped, for a caller that keeps no count of its own; what
// Node.Counts reports is added. It never blocks for long, so a home may call it while it applies.
func (m *Metrics) Dropped(place, reason string, n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dropped[[2]string{place, reason}] += int64(n)
}

func (m *Metrics) droppedCounts() []DroppedCount {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]DroppedCount, 0, len(m.dropped))
	for k, n := range m.dropped {
		out = append(out, DroppedCount{Place: k[0], Reason: k[1], Count: n})
	}
	return out
}

// ServeHTTP answers a scrape.
func (m *Metrics) ServeHTTP(w http.ResponseWriter, r *http.Request) { m.page.ServeHTTP(w, r) }

// attach adds what is asked of the node at each scrape.
func (m *Metrics) attach(s *Server) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.attached {
		return errors.New("these metrics belong to another server")
	}
	m.attached = true
	return m.registry.Register(&scraper{s})
}
