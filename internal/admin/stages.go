package admin

import (
	"sync"
	"time"
)

// StageTime is how long a stage of the beginnings of connections took at a node in the last minute.
type StageTime struct {
	Stage       string  `json:"stage"` // queue, tls, connect, auth, attach
	Connections int64   `json:"connections"`
	MeanSeconds float64 `json:"mean_seconds"`
	Share       float64 `json:"share"` // of the time that all stages but the queue took; of the queue 0
}

// stages sums up how long the stages of connections took in the last minute. The zero value is ready.
type stages struct {
	mu    sync.Mutex
	names []string
	of    map[string]*[stageSlots]stageSlot
}

const (
	stageSlots = 6
	stageEvery = 10 * time.Second
	stageQueue = "queue"
)

type stageSlot struct {
	began time.Time
	n     int64
	took  time.Duration
}

// know gives a stage its place among those that are listed.
func (s *stages) know(stage string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ring(stage)
}

// add notes one.
func (s *stages) add(stage string, took time.Duration, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ring := s.ring(stage)
	at := now.Truncate(stageEvery)
	slot := &ring[at.Unix()/int64(stageEvery/time.Second)%stageSlots]
	if !slot.began.Equal(at) {
		*slot = stageSlot{began: at}
	}
	slot.n++
	slot.took += took
}

func (s *stages) ring(stage string) *[stageSlots]stageSlot {
	if s.of == nil {
		s.of = map[string]*[stageSlots]stageSlot{}
	}
	ring := s.of[stage]
	if ring == nil {
		ring = &[stageSlots]stageSlot{}
		s.of[stage] = ring
		s.names = append(s.names, stage)
	}
	return ring
}

// lately lists the stages in their order.
func (s *stages) lately(now time.Time) (list []StageTime) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all time.Duration
	took := map[string]time.Duration{}
	for _, name := range s.names {
		t := StageTime{Stage: name}
		for _, slot := range s.of[name] {
			if now.Sub(slot.began) < stageSlots*stageEvery {
				t.Connections += slot.n
				took[name] += slot.took
			}
		}
		if t.Connections > 0 {
			t.MeanSeconds = took[name].Seconds() / float64(t.Connections)
		}
		if name != stageQueue {
			all += took[name]
		}
		list = append(list, t)
	}
	for i := range list {
		if list[i].Stage != stageQueue && all > 0 {
			list[i].Share = float64(took[list[i].Stage]) / float64(all)
		}
	}
	return list
}
