package app

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"causeway/internal/admin"
	"causeway/internal/home"
)

const admissionDocument = "admission"

// forGood is a pace without an end.
const forGood = 10 * 365 * 24 * time.Hour

// followAdmission lets connections in at the rate that an operator set, until ctx ends. A promotion sets a pace of its
// own for the while that a fleet comes back.
func (a *App) followAdmission(ctx context.Context) error {
	set := false
	a.documents.watch(ctx, admissionDocument, func(d home.Document) {
		if d.Name != admissionDocument {
			return
		}
		rule, err := readDocument[admin.AdmissionRule](d)
		if err == nil && rule != nil && rule.PerSecond < 1 {
			err = fmt.Errorf("%d connections a second are no rate", rule.PerSecond)
		}
		if !a.documents.understood(d, err) {
			return
		}
		if left := ruleLeft(rule, time.Now()); left > 0 {
			set = true
			a.broker.RuleConnects(float64(rule.PerSecond), left)
			a.log.Info("connections are let in at the rate that was set", "per_second", rule.PerSecond, "by", rule.By, "for", left.Round(time.Second))
		} else if set {
			set = false
			a.broker.RuleConnects(0, 0)
			a.log.Info("connections are let in as they come again")
		}
	})
	return ctx.Err()
}

// ruleLeft is for how long a rule holds yet; 0: there is none.
func ruleLeft(r *admin.AdmissionRule, now time.Time) time.Duration {
	switch {
	case r == nil:
		return 0
	case r.Until == nil:
		return forGood
	}
	return max(0, r.Until.Sub(now))
}

// AdmissionRule implements admin.Admissions.
func (n node) AdmissionRule() (none admin.AdmissionRule, _ error) {
	if _, err := n.state(); err != nil {
		return none, err
	}
	d, ok := n.a.documents.get(admissionDocument)
	if !ok {
		return none, nil
	}
	rule, err := readDocument[admin.AdmissionRule](d)
	if err != nil || ruleLeft(rule, time.Now()) == 0 {
		return none, err
	}
	return *rule, nil
}

// SetAdmission implements admin.Admissions.
func (n node) SetAdmission(ctx context.Context, rule admin.AdmissionRule, dryRun bool) ([]string, error) {
	if _, err := n.state(); err != nil {
		return nil, err
	}
	var body []byte
	effects := []string{"each node lets connections in as they come, but for rates of its listeners and what a promotion asks for"}
	if rule.PerSecond > 0 {
		var err error
		if body, err = json.Marshal(rule); err != nil {
			return nil, err
		}
		effects = []string{fmt.Sprintf("each node lets in at most %d connections a second, before TLS, by turns between namespaces; who is connected is not slowed", rule.PerSecond)}
		if rule.Until != nil {
			effects = append(effects, "until "+rule.Until.Format(time.RFC3339))
		}
	}
	d, ok := n.a.documents.get(admissionDocument)
	if dryRun || body == nil && !ok {
		return effects, nil
	}
	_, err := n.a.documents.set(ctx, admissionDocument, d.Revision, body, rule.By, rule.Reason)
	return effects, documentError(err)
}
