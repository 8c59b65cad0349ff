package packet

// forward collects the properties a server passes on unchanged. As long as they are neighbours it is a view of the
// block; at the first gap it copies, once.
type forward struct {
	block    []byte
	from, to int
	copied   []byte
}

// forwardable reads the property at hand if it is one to pass on.
func (r *reader) forwardable(f *forward) bool {
	switch r.id {
	case propPayloadFormat:
		r.bit()
	case propContentType:
		r.text(r.field)
	case propResponseTopic:
		r.topicName(r.field)
	case propCorrelationData:
		r.binary(r.field)
	case propUser:
		r.user()
	default:
		return false
	}
	if r.refusal == nil {
		f.add(r.block, r.from, r.at())
	}
	return true
}

func (f *forward) add(block []byte, from, to int) {
	switch {
	case f.copied != nil:
		f.copied = append(f.copied, block[from:to]...)
	case f.block == nil:
		f.block, f.from, f.to = block, from, to
	case from == f.to:
		f.to = to
	default:
		f.copied = make([]byte, 0, len(block)-f.from)
		f.copied = append(f.copied, block[f.from:f.to]...)
		f.copied = append(f.copied, block[from:to]...)
	}
}

// bytes returns what was collected, nil if nothing was. Its capacity is its length: an append cannot reach the packet.
func (f *forward) bytes() []byte {
	if f.copied != nil {
		return f.copied
	}
	if f.block == nil {
		return nil
	}
	return f.block[f.from:f.to:f.to]
}
