package main

import (
	"time"

	"causeway/internal/admin"
)

// drillAnswers is a region that is not ready for a drill.
func drillAnswers() map[string]any {
	return map[string]any{
		"GET /v1/readiness": admin.Readiness{Region: "eu", Node: "eu-1", Score: 62, Blockers: []string{"parity"}, Unanswered: []admin.Unanswered{{Node: "eu-3", Reason: "it is not seen"}},
			Items: []admin.ReadinessItem{
				{Check: "parity", Node: "eu-2", State: "fail", Reason: "not as here: region us: acl", Fix: "make the files equal", Since: at(-2 * time.Hour), At: at(-10 * time.Second)},
				{Check: "hooks", Node: "eu-1", State: "pending", Reason: "not looked at yet"},
				{Check: "standby_lag", Node: "eu-1", State: "ok", Reason: "home eu: us stands by 7 records (500ms) behind", Since: at(-72 * time.Hour), At: at(-time.Second)}},
			Facts: []admin.ReadinessFacts{{Node: "eu-1", Version: "v0.1.0", Certificates: []admin.Certificate{{Name: "node", NotBefore: noon, NotAfter: noon.AddDate(0, 0, 40), DaysLeft: 40}},
				CRLs: []admin.CRL{{Use: "identity", Issuer: "Fleet", Source: "/etc/causeway/crl.pem", State: admin.CRLCurrent, Stale: "alarm", Number: "7", Revoked: 2, ThisUpdate: at(0), NextUpdate: at(48 * time.Hour)},
					{Use: "listener cars", Source: "http://ca/cars.crl", State: admin.CRLMissing, Stale: "refuse", Problem: "404"}}}}},
	}
}
