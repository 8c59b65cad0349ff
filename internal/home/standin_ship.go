package home

// Shipment is a record in shipped form.
type Shipment struct {
	N     uint64 // number of the record
	Chain uint64 // after it
	Data  []byte
}

// CopyPosition is where a copy of a home stands.
type CopyPosition struct {
	Epoch          Epoch
	Records, Chain uint64
}
