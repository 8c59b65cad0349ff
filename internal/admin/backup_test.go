package admin

import (
	"strings"
	"testing"
)

// The keys of a backup's files are for the node, and for nobody who reads its audit log; the namespace has to be said again.
func TestRestoreBackup_KeysAreForTheNode(t *testing.T) {
	f := newFake()
	s := fixture(t, f)
	const key = "c2VjcmV0IG9mIGEgZmlsZQ=="
	path := Path("backups", "eu-1", "restore") + "?namespace=cars&replace=true"
	if w := call(t, s, "POST", path, `{"confirm":"vans","keys":[]}`); w.Code != 409 {
		t.Errorf("for another namespace: %d %s", w.Code, w.Body)
	}
	if did := f.done(); len(did) > 0 {
		t.Errorf("it did %v", did)
	}
	j := answer[BackupJob](t, call(t, s, "POST", path, `{"confirm":"cars","keys":[{"part":"part-00001","key":"`+key+`"}]}`))
	if j.Namespace != "cars" || j.Act != BackupRestore {
		t.Errorf("%+v", j)
	}
	if did := strings.Join(f.done(), "; "); !strings.Contains(did, "namespace=cars replace=true keys=1 dry=false") {
		t.Errorf("it did %q", did)
	}
	for _, r := range answer[Page[AuditRecord]](t, call(t, s, "GET", "/v1/audit?limit=50", "")).Items {
		if strings.Contains(r.Request+r.Reason+r.Target, key) || strings.Contains(r.Request, "sha256") {
			t.Errorf("the audit log says %+v", r)
		}
	}
}
