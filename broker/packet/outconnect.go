package packet

// AppendConnect appends c in its Version, for a client. Of the properties it writes those that differ from what leaving
// them out means; a ReceiveMaximum of 0 is left out.
func AppendConnect(dst []byte, c *Connect) []byte {
	name := "MQTT"
	if c.Version == V31 {
		name = "MQIsdp"
	}
	dst = append(dst, byte(CONNECT)<<4)
	at := len(dst)
	dst = appendString(dst, name)
	dst = append(dst, byte(c.Version), c.flags())
	dst = appendUint16(dst, c.KeepAlive)
	if c.Version == V5 {
		dst = c.appendProperties(dst)
	}
	dst = appendString(dst, c.ClientID)
	if c.Will != nil {
		dst = c.Will.append(dst, c.Version)
	}
	if c.HasUsername {
		dst = appendString(dst, c.Username)
	}
	if c.HasPassword {
		dst = appendBinary(dst, c.Password)
	}
	return prefixLength(dst, at)
}

func (c *Connect) flags() byte {
	var flags byte
	if c.CleanStart {
		flags |= flagCleanStart
	}
	if c.HasUsername {
		flags |= flagUsername
	}
	if c.HasPassword {
		flags |= flagPassword
	}
	if c.Will != nil {
		flags |= flagWill | c.Will.QoS<<3
		if c.Will.Retain {
			flags |= flagWillRetain
		}
	}
	return flags
}

func (c *Connect) appendProperties(dst []byte) []byte {
	block := len(dst)
	dst = appendNonZero32(dst, propSessionExpiry, c.SessionExpiry)
	if c.ReceiveMaximum != 65535 {
		dst = appendNonZero16(dst, propReceiveMaximum, c.ReceiveMaximum)
	}
	dst = appendNonZero32(dst, propMaximumPacketSize, c.MaximumPacketSize)
	dst = appendNonZero16(dst, propTopicAliasMaximum, c.TopicAliasMaximum)
	if c.RequestResponseInfo {
		dst = append(dst, propRequestResponse, 1)
	}
	if !c.RequestProblemInfo {
		dst = append(dst, propRequestProblem, 0)
	}
	dst = appendTextProperty(dst, propAuthMethod, c.AuthMethod)
	if c.AuthData != nil {
		dst = appendBinary(append(dst, propAuthData), c.AuthData)
	}
	dst = appendUser(dst, c.User)
	return prefixLength(dst, block)
}

func (w *Will) append(dst []byte, v Version) []byte {
	if v == V5 {
		block := len(dst)
		dst = appendNonZero32(dst, propWillDelay, w.Delay)
		if w.MessageExpiry.Set {
			dst = appendUint32(append(dst, propMessageExpiry), w.MessageExpiry.Value)
		}
		dst = append(dst, w.Forward...)
		dst = prefixLength(dst, block)
	}
	return appendBinary(appendString(dst, w.Topic), w.Payload)
}
