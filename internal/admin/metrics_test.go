package admin

import (
	"strings"
	"testing"
	"time"

	"causeway/internal/health"
)

// page is what Prometheus reads.
func page(t *testing.T, s *Server) string {
	t.Helper()
	w := call(t, s, "GET", "/metrics", "")
	if w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func TestMetrics_Page(t *testing.T) {
	f := newFake()
	f.st.Links = f.Links()
	f.counts.Objects = ObjectsCounts{Revision: 9, Trying: true, Denials: []RuleDenials{{"cars", 9, 4, 2}}, DeniedSubscribes: 2, Throttled: 1}
	s := fixture(t, f)
	s.metrics.PublishAck("region", 1)(3 * time.Millisecond)
	s.metrics.Dropped("queue", "queue_full", 6)
	s.metrics.Dropped("memory", "memory_full", 1)
	text := page(t, s)
	for _, want := range []string{
		`causeway_objects_revision 9`, `causeway_objects_trying 1`, `causeway_objects_problem 0`, `causeway_subscribes_denied_total 2`,
		`causeway_acl_denied_total{act="publish",revision="9",rule="cars"} 4`, `causeway_publishes_throttled_total 1`,
		`causeway_link_up{peer="us",reason="",transport="udp"} 1`,
		`causeway_link_tunnels_total{peer="us",transport="tcp"} 2`,
		`causeway_link_udp_probes_total{peer="us"} 5`,
		`causeway_link_tunnels_total{peer="us",transport="relay"} 4`,
		`causeway_link_relayed_bytes_total{peer="us",to="ap"} 4096`,
		`causeway_link_relayed_tunnels_total{peer="us",to="ap"} 6`,
		`causeway_link_relayed_tunnels{peer="us",to="ap"} 1`,
		`causeway_shared_group_oldest_seconds{group="workers",namespace="default"} 70`,
		`causeway_shared_group_mismatches 1`,
		`causeway_link_relay_refused_total{peer="us",reason="forbidden"} 8`,
		`causeway_link_connections{peer="us"} 8`,
		`causeway_link_dial_failures_total{peer="us"} 7`,
		`causeway_link_lag_seconds{peer="us"} 0.2`,
		`causeway_link_lag_messages{peer="us"} 3`,
		`causeway_shared_group_lag_messages{group="workers",namespace="default"} 15`,
		`causeway_link_spool_bytes{peer="us"} 300`,
		`causeway_link_bytes_total{direction="out",form="wire",peer="us"} 400`,
		`causeway_connections{listener="cars",namespace="cars",protocol="3.1.1"} 1`,
		`causeway_connects_total{listener="cars",result="bad_login"} 2`,
		`causeway_disconnects_total{reason="gone"} 5`,
		`causeway_sessions{home="eu",namespace="cars",state="detached"} 9`,
		`causeway_session_takeovers_total{result="ok",scope="node"} 1`,
		`causeway_messages_received_total{namespace="cars",qos="1"} 100`,
		`causeway_messages_sent_total{namespace="cars",qos="0"} 7`,
		`causeway_messages_dropped_total{place="memory",reason="memory_full"} 5`,
		`causeway_messages_dropped_total{place="queue",reason="queue_full"} 6`,
		`causeway_queue_bytes{home="eu"} 4096`,
		`causeway_messages_owed{home="eu"} 1`,
		`causeway_mqtt_bytes_total{direction="in"} 5000`, `causeway_mqtt_bytes_total{direction="out"} 7000`,
		`causeway_queue_oldest_seconds{home="eu",namespace="cars"} 70`,
		`causeway_certificate_expires_seconds{certificate="devices of cars"} `,
		`causeway_drill_under_way{home="eu"} 1`, `causeway_drill_outcome{home="eu",outcome="missed"} 1`, `causeway_drill_outcome{home="eu",outcome="done"} 0`,
		`causeway_drill_value{home="eu",metric="p95",phase="lose-region eu"} 9`,
		`causeway_home_epoch{home="eu"} 3`,
		`causeway_region_state{home="eu",state="host"} 1`,
		`causeway_region_state{home="eu",state="standby"} 0`,
		`causeway_standby_rpo_seconds{home="eu",standby="us"} 0.5`,
		`causeway_standby_rpo_messages{home="eu",standby="us"} 5`,
		`causeway_home_leader{home="eu"} 1`,
		`causeway_readiness_score 50`,
		`causeway_readiness_blocker{check="standby_lag"} 0`,
		`causeway_node_state{state="ready"} 1`,
		`causeway_node_state{state="fenced"} 0`,
		`causeway_service_restarts_total{service="link/us"} 2`,
		`causeway_disk_free_bytes{use="data"} 9.663676416e+10`,
		`causeway_publish_ack_seconds_count{policy="region",qos="1"} 1`,
		`causeway_publish_ack_seconds_sum{policy="region",qos="1"} 0.003`,
		`causeway_home_commit_seconds_count{home="eu"} 3`,
		`causeway_home_commit_seconds_bucket{home="eu",le="0.01"} 2`,
		`causeway_fsync_seconds_sum{store="log"} 0.5`,
		`causeway_region_nodes{role="core",seen="no"} 1`,
		`causeway_home_votes{home="eu"} 2`,
		`causeway_home_votes_configured{home="eu"} 3`,
		`causeway_home_term{home="eu"} 7`,
		`causeway_home_stale_seconds{home="eu"} 0.5`,
		`causeway_home_behind_entries{home="eu"} 12`,
		`causeway_home_fetched_bytes{home="eu"} 100`,
		`causeway_home_fetch_size_bytes{home="eu"} 400`,
		`causeway_home_follower_lag_entries{home="eu",node="eu-2"} 9`,
		`causeway_home_node_downs_total{home="eu"} 1`,
		`causeway_home_core_switches_total{home="eu"} 4`,
		`causeway_home_bodies_asked_total{home="eu",result="read"} 20`,
		`causeway_home_bodies_asked_total{home="eu",result="again"} 3`,
		`causeway_replica_digest_mismatch_total{home="eu",with="eu-3"} 2`,
		`causeway_sibling_up{node="eu-2"} 1`,
		`causeway_sibling_queue_bytes{node="eu-2"} 50`,
		`causeway_sibling_messages_total{node="eu-2",result="sent"} 10`,
		`causeway_sibling_messages_total{node="eu-2",result="dropped"} 3`,
		`causeway_sibling_messages_total{node="eu-2",result="received"} 8`,
		`causeway_sibling_streams_total{node="eu-2"} 2`,
		`causeway_sibling_malformed_total{node="eu-2"} 1`,
		`causeway_sibling_yields_total{node="eu-2",result="asked"} 6`,
		`causeway_sibling_yields_total{node="eu-2",result="lapsed"} 1`,
		`causeway_build_info{goversion="go1.`,
		"go_goroutines ", "process_open_fds ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page has no %s", want)
		}
	}
	for _, secret := range []string{"car-1", "10.0.0.2", "10.1.2.3", "fleet/a"} {
		if strings.Contains(text, secret) {
			t.Errorf("%s is on the page", secret)
		}
	}
}

// Up over TCP is up, and the label says why it is not UDP.
func TestMetrics_LinkOverTCP(t *testing.T) {
	f := newFake()
	f.links[0].Link.Transport, f.links[0].Link.Cause = "tcp", "udp_blocked"
	f.st.Links = f.Links()
	if text := page(t, fixture(t, f)); !strings.Contains(text, `causeway_link_up{peer="us",reason="udp_blocked",transport="tcp"} 1`) {
		t.Errorf("the page does not say so:\n%s", text)
	}
}

// The reason of a link that is down is a word; the address in the sentence stays out of the label.
func TestMetrics_LinkDown(t *testing.T) {
	for cause, want := range map[string]string{"timeout": "timeout", "": "down", "dial udp 10.0.0.2: no route": "other"} {
		f := newFake()
		f.links[0].Link.State, f.links[0].Link.Cause, f.links[0].Link.Transport = "down", cause, ""
		f.st.Links = f.Links()
		if text := page(t, fixture(t, f)); !strings.Contains(text, `causeway_link_up{peer="us",reason="`+want+`",transport=""} 0`) {
			t.Errorf("cause %q: no reason %q", cause, want)
		}
	}
}

// A home that is not open is not said to have no votes or to be fresh.
func TestMetrics_WhileTheHomeIsFetched(t *testing.T) {
	f := newFake()
	f.counts.Homes[0].Open = false
	text := page(t, fixture(t, f))
	if !strings.Contains(text, `causeway_home_fetched_bytes{home="eu"} 100`) || strings.Contains(text, "causeway_home_stale_seconds{") ||
		strings.Contains(text, "causeway_home_votes{") {
		t.Error("figures that nobody knows are on the page, or those of the fetch are not")
	}
}

// Two counts with the same labels are one number, not a page that Prometheus refuses.
func TestMetrics_SameLabelsAreAdded(t *testing.T) {
	f := newFake()
	f.counts.Connects = []ConnectsCount{{"cars", "ok", 1}, {"cars", "ok", 2}}
	if text := page(t, fixture(t, f)); !strings.Contains(text, `causeway_connects_total{listener="cars",result="ok"} 3`) {
		t.Error("not added")
	}
}

func TestMetrics_StateFollowsTheNode(t *testing.T) {
	s := fixture(t, newFake())
	s.health.Set("replica", health.Condition{State: health.Isolated, Reason: "no leader"})
	text := page(t, s)
	if !strings.Contains(text, `causeway_node_state{state="isolated"} 1`) || !strings.Contains(text, `causeway_node_state{state="ready"} 0`) {
		t.Error("the state is not isolated")
	}
}

func TestMetrics_BelongToOneServer(t *testing.T) {
	s := fixture(t, newFake())
	if _, err := New(Options{Node: s.node, Health: s.health, Metrics: s.metrics}); err == nil {
		t.Error("a second server took them")
	}
}

func BenchmarkPublishAck(b *testing.B) {
	observe := NewMetrics(Build{}).PublishAck("region", 1)
	b.ReportAllocs()
	for b.Loop() {
		observe(3 * time.Millisecond)
	}
}
