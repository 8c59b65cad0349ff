package home

import (
	"testing"
	"time"
)

func TestSpool_AgesWhileNothingIsPublished(t *testing.T) {
	r := newRig(t, "eu")
	r.do(&SetPeer{Peer: "us", SpoolAge: time.Hour})
	r.do(&Interest{Peer: "us", Epoch: Epoch{1, "us"}, Full: true, Version: 1, Add: []InterestFilter{{Filter: "a"}}})
	r.pub("a", "old", 1, false)
	r.now += Time(59 * time.Minute)
	r.do(&Tick{})
	r.want("within its age", r.s.SpoolInfo("us")[0].Messages, 1)
	r.now += Time(2 * time.Minute)
	r.do(&Tick{})
	info := r.s.SpoolInfo("us")[0]
	r.want("past its age", info.Messages, 0)
	r.want("counted", r.told.dropped[DropSpoolAge], 1)
	r.want("the span is done with", info.Start, Seq(1))
}
