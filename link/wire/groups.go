package wire

import "encoding/binary"

// Groups of messages go behind all messages of a frame, since few have any:
//
//	groups := count | (number of the message after that of the last | n | name*n)*count

// maxGroupBytes bounds the names of the groups of one message with their lengths.
const maxGroupBytes = 256 << 10

const minGroups = 3 // number, n, the length of a name

func (e *Encoder) appendGroups(groups []string) {
	if len(groups) == 0 {
		return
	}
	e.tails++
	e.tail = binary.AppendUvarint(e.tail, uint64(e.count-e.after))
	e.tail = binary.AppendUvarint(e.tail, uint64(len(groups)))
	for _, g := range groups {
		e.tail = appendString(e.tail, g)
	}
	e.after = e.count
}

// groups reads the groups of messages.
func (f *fields) groups(messages []Message) {
	count := f.uvarint("number of messages for groups")
	if count > uint64(len(f.b)/minGroups) {
		f.fail(corrupt("%d messages for groups in %d bytes", count, len(f.b)))
	}
	at := uint64(0)
	for i := uint64(0); i < count && f.err == nil; i++ {
		step := f.uvarint("message for a group")
		if at += step; step > uint64(len(messages)) || at >= uint64(len(messages)) || step == 0 && i > 0 {
			f.fail(corrupt("message %d of %d is for a group", at, len(messages)))
			return
		}
		messages[at].Groups = f.names()
	}
}

func (f *fields) names() []string {
	n := f.uvarint("number of groups")
	if n == 0 || n > uint64(len(f.b)) {
		f.fail(corrupt("%d groups in %d bytes", n, len(f.b)))
		return nil
	}
	list := make([]string, 0, min(n, 64))
	for range n {
		list = append(list, f.string("group", 2*maxTopic))
	}
	return list
}
