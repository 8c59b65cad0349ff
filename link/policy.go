package link

import (
	"time"

	"causeway/internal/home"
	"causeway/routing"
)

// policy is what holds for the link now, as our home has it: nil while it does not
// know the peer.
func (p *peer) policy() *home.LinkPolicy { return p.m.o.Home.State().LinkPolicy(p.config().ID) }

func (t *tunnel) policy() *home.LinkPolicy { return t.st.LinkPolicy(t.p.config().ID) }

// pausePoll is how often a receiver looks whether the link is paused still.
const pausePoll = 100 * time.Millisecond

// hereTopic is the topic under which a message of the peer appears here, or why it
// does not.
func hereTopic(policy *home.LinkPolicy, topic string) (string, DropReason) {
	if !policy.MayCome(topic) {
		return "", DropPolicyIn
	}
	if len(policy.InPrefix)+len(topic) > routing.MaxBytes {
		return "", DropTopicTooLong
	}
	return policy.InPrefix + topic, ""
}

// withheld says why a spooled message must not go any more, "" if it may.
func withheld(policy *home.LinkPolicy, class string, seq home.Seq, topic string) DropReason {
	switch {
	case !policy.MayGo(topic):
		return DropPolicyOut
	case policy.Trimmed(class, seq, topic):
		return DropOperator
	}
	return ""
}
