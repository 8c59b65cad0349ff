package load

import (
	"fmt"
	"math"
	"time"
)

// Telemetry is what a vehicle reports of itself, as JSON of some 500 bytes: most of
// it is as it was, numbers drift, no two messages are the same.
type Telemetry struct{ Vehicle int }

// began is when the first message was recorded.
var began = time.Date(2026, 11, 27, 6, 0, 0, 0, time.UTC)

// Append appends message n to b. It is the same each time.
func (v Telemetry) Append(n uint64, b []byte) []byte {
	t, phase := float64(n), float64(v.Vehicle)
	wave := func(middle, swing, period float64) float64 {
		return middle + swing*math.Sin(t/period+phase) + swing/50*(v.noise(n, uint64(period))-0.5)
	}
	at := began.Add(time.Duration(n)*time.Second + time.Duration(v.noise(n, 1)*1e9)).Format("2006-01-02T15:04:05.000Z")
	return fmt.Appendf(b, `{"vin":"WDB22%012d","ts":"%s","seq":%d,"pos":{"lat":%.6f,"lon":%.6f,"alt":%.1f,"heading":%.1f},`+
		`"speed_kmh":%.1f,"odometer_km":%.2f,"battery":{"soc":%.2f,"voltage":%.2f,"current":%.2f,"temp_c":[%.1f,%.1f,%.1f,%.1f]},`+
		`"motor":{"rpm":%.0f,"torque_nm":%.1f,"temp_c":%.1f},"tyres_kpa":[%.0f,%.0f,%.0f,%.0f],`+
		`"doors":{"fl":"closed","fr":"closed","rl":"closed","rr":"closed","boot":"closed"},"hvac":{"on":%t,"set_c":21.5,"cabin_c":%.1f},"faults":[]}`,
		7_000_000+v.Vehicle*31, at, n, wave(48.1, 0.2, 900), wave(11.5, 0.3, 1100), wave(520, 40, 300), wave(180, 170, 60),
		wave(70, 45, 40), 20_000+phase*13+t/60, wave(60, 30, 4000), wave(380, 12, 200), wave(40, 80, 15), wave(31, 3, 700), wave(31, 3, 710),
		wave(32, 3, 720), wave(32, 3, 730), wave(6000, 3000, 30), wave(120, 90, 12), wave(60, 10, 500), wave(240, 3, 3000), wave(241, 3, 3100),
		wave(250, 3, 3200), wave(251, 3, 3300), v.Vehicle%3 > 0, wave(21, 1, 600))
}

// noise is a number below 1 that looks random.
func (v Telemetry) noise(n, of uint64) float64 {
	x := (n+1)*0x9E3779B97F4A7C15 ^ (uint64(v.Vehicle)+of)*0xBF58476D1CE4E5B9
	x ^= x >> 31
	x *= 0x94D049BB133111EB
	return float64(x>>11) / (1 << 53)
}
