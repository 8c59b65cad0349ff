package app

import (
	"strings"
	"testing"

	"causeway/internal/admin"
)

// A message that no device could have published is not taken in: it would break those that get it.
func TestJudgeRetained(t *testing.T) {
	content := "\x03\x00\x01x" // content type
	for name, c := range map[string]struct {
		change func(*admin.RetainedMessage)
		want   string
	}{
		"good":               {func(*admin.RetainedMessage) {}, ""},
		"with properties":    {func(m *admin.RetainedMessage) { m.Properties = []byte(content + "\x26\x00\x01a\x00\x01b") }, ""},
		"no namespace":       {func(m *admin.RetainedMessage) { m.Namespace = "" }, "namespace"},
		"a wildcard":         {func(m *admin.RetainedMessage) { m.Topic = "a/+" }, "a/+"},
		"QoS 3":              {func(m *admin.RetainedMessage) { m.QoS = 3 }, "QoS"},
		"empty":              {func(m *admin.RetainedMessage) { m.Payload = nil }, "empty"},
		"too large":          {func(m *admin.RetainedMessage) { m.Payload = make([]byte, 100) }, "limits.packet"},
		"broken properties":  {func(m *admin.RetainedMessage) { m.Properties = []byte("\x03\x00\x09x") }, "properties"},
		"an expiry in there": {func(m *admin.RetainedMessage) { m.Properties = []byte(content + "\x02\x00\x00\x00\x09") }, "properties"},
		"an unknown one":     {func(m *admin.RetainedMessage) { m.Properties = []byte("\x7f\x00") }, "properties"},
	} {
		t.Run(name, func(t *testing.T) {
			m := admin.RetainedMessage{Namespace: "cars", Topic: "a/b", QoS: 1, Payload: []byte("on")}
			c.change(&m)
			err := judgeRetained(m, 100)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}
