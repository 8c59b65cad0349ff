package admin

import "context"

func (f *fake) AdmissionRule() (AdmissionRule, error) {
	if f.st.Node == "" {
		return AdmissionRule{}, f.down
	}
	until := noon
	return AdmissionRule{PerSecond: 2000, Until: &until, Since: &until, By: "ops"}, f.down
}

func (f *fake) SetAdmission(_ context.Context, r AdmissionRule, dryRun bool) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !dryRun {
		f.do("admission %d by %s", r.PerSecond, r.By)
	}
	return nil, f.down
}
