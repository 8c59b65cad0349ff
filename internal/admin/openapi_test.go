package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"causeway/internal/health"
	"causeway/internal/supervise"

	"gopkg.in/yaml.v3"
)

type object = map[string]any

// document is openapi.yaml as a test reads it.
func document(t *testing.T) object {
	t.Helper()
	var doc object
	if err := yaml.Unmarshal(OpenAPI(), &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// at follows keys into the document; a $ref on the way is followed too.
func at(t *testing.T, doc object, from any, keys ...string) object {
	t.Helper()
	v := from
	for i := 0; ; i++ {
		m, ok := v.(object)
		if !ok {
			t.Fatalf("no object at %v", keys[:i])
		}
		if ref, ok := m["$ref"].(string); ok {
			v = at(t, doc, doc, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
			m = v.(object)
		}
		if i == len(keys) {
			return m
		}
		if v, ok = m[keys[i]]; !ok {
			t.Fatalf("no %s under %v", keys[i], keys[:i])
		}
	}
}

// operations lists the operations of the document by "METHOD /path".
func operations(t *testing.T, doc object) map[string]object {
	ops := map[string]object{}
	for path, item := range doc["paths"].(object) {
		for method, op := range item.(object) {
			if method != "parameters" {
				ops[strings.ToUpper(method)+" "+path] = op.(object)
			}
		}
	}
	return ops
}

func strs(v any) (out []string) {
	list, _ := v.([]any)
	for _, s := range list {
		out = append(out, s.(string))
	}
	return out
}

// Every route is documented, with its role and its parameters; every documented route is served.
func TestDocument_HasEveryRoute(t *testing.T) {
	doc := document(t)
	ops := operations(t, doc)
	for _, r := range newAPI(fixture(t, newFake())).routes() {
		name := r.method + " " + r.path
		op := ops[name]
		if op == nil {
			t.Errorf("%s is served and not documented", name)
			continue
		}
		delete(ops, name)
		role, _ := op["x-role"].(string)
		if security, open := op["security"]; open != (r.role == RoleNone) || (open && len(security.([]any)) != 0) || (!open && role != r.role.String()) {
			t.Errorf("%s: needs %s, documented as %q, security %v", name, r.role, role, security)
		}
		if op["operationId"] == nil || op["summary"] == nil || op["tags"] == nil {
			t.Errorf("%s: no operationId, summary or tags", name)
		}
		inQuery, inPath := parameters(t, doc, doc["paths"].(object)[r.path].(object), op)
		if want := slices.Sorted(slices.Values(r.params)); !slices.Equal(inQuery, want) {
			t.Errorf("%s: takes %v, documented %v", name, want, inQuery)
		}
		var wild []string
		for _, m := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(r.path, -1) {
			wild = append(wild, m[1])
		}
		if slices.Sort(wild); !slices.Equal(inPath, wild) {
			t.Errorf("%s: path has %v, documented %v", name, wild, inPath)
		}
	}
	for name := range ops {
		t.Errorf("%s is documented and not served", name)
	}
}

func parameters(t *testing.T, doc, item, op object) (inQuery, inPath []string) {
	both := append(append([]any{}, list(anys(item["parameters"]))...), anys(op["parameters"])...)
	for _, p := range both {
		m := at(t, doc, p)
		if m["in"] == "query" {
			inQuery = append(inQuery, m["name"].(string))
		} else {
			inPath = append(inPath, m["name"].(string))
		}
	}
	slices.Sort(inQuery)
	slices.Sort(inPath)
	return inQuery, inPath
}

func anys(v any) []any { l, _ := v.([]any); return l }

// Every struct of the API has the fields of its schema, no more and no less, of the same kind.
func TestDocument_SchemasAreTheStructs(t *testing.T) {
	doc := document(t)
	types := map[string]any{"Version": Version{}, "Admission": Admission{}, "QueueCount": QueueCount{}, "Status": Status{}, "State": State{}, "StatePart": StatePart{}, "Trouble": Trouble{},
		"Totals": Totals{}, "Home": Home{}, "HomeStandby": HomeStandby{}, "Listener": Listener{}, "ConnectionCount": ConnectionCount{}, "SessionCount": SessionCount{},
		"Store": Store{}, "Condition": Condition{}, "CRL": CRL{}, "Service": Service{}, "Client": Client{}, "Session": Session{}, "SessionDetail": SessionDetail{}, "Whereabouts": Whereabouts{}, "WhereaboutsAt": WhereaboutsAt{},
		"LinkForeign": LinkForeign{}, "LinkDrops": LinkDrops{},
		"Subscription": Subscription{}, "QueuedMessage": QueuedMessage{}, "Link": Link{}, "LinkBytes": LinkBytes{}, "LinkCanary": LinkCanary{}, "LinkRelayed": LinkRelayed{}, "LinkRefused": LinkRefused{}, "LinkDetail": LinkDetail{},
		"LinkPause": LinkPause{}, "LinkPolicy": LinkPolicy{}, "PolicyKey": PolicyKey{}, "PolicyEdit": PolicyEdit{}, "PolicySetting": PolicySetting{},
		"PolicyChange": PolicyChange{}, "PolicyDiff": PolicyDiff{}, "SpoolReport": SpoolReport{}, "TopicSum": TopicSum{}, "SpoolTrim": SpoolTrim{}, "LinkDrain": LinkDrain{},
		"LinkTest": LinkTest{}, "LinkTestStep": LinkTestStep{}, "LinkTestFigure": LinkTestFigure{},
		"Upgrade": Upgrade{}, "UpgradeStep": UpgradeStep{},
		"Backup": Backup{}, "BackupPage": Page[Backup]{}, "BackupJob": BackupJob{}, "BackupJobPage": Page[BackupJob]{}, "Restored": Restored{}, "RestoreRequest": RestoreRequest{}, "BackupFileKey": BackupFileKey{}, "BackupLock": BackupLock{}, "BackupStanza": BackupStanza{}, "BackupLockPage": Page[BackupLock]{},
		"RegionHome": RegionHome{}, "RegionHomePage": Page[RegionHome]{}, "RegionStandby": RegionStandby{}, "RegionVoter": RegionVoter{}, "RegionAct": RegionAct{}, "RegionStep": RegionStep{},
		"RegionChange": RegionChange{}, "ConfirmRequest": ConfirmRequest{}, "Divergence": Divergence{}, "DivergenceCount": DivergenceCount{},
		"Event": Event{}, "EventPage": Page[Event]{},
		"Drill": Drill{}, "DrillPage": Page[Drill]{}, "DrillPhase": DrillPhase{}, "DrillValue": DrillValue{}, "DrillFinding": DrillFinding{}, "DrillTouch": DrillTouch{},
		"RetainedMessagePage": Page[RetainedMessage]{}, "RetainedMessage": RetainedMessage{}, "RetainedImport": RetainedImport{}, "RetainedImported": RetainedImported{}, "AlarmPage": AlarmPage{}, "Alarm": Alarm{}, "Readiness": Readiness{}, "ReadinessItem": ReadinessItem{}, "ReadinessFacts": ReadinessFacts{}, "Certificate": Certificate{}, "FactDigest": FactDigest{},
		"DeviceEvent": DeviceEvent{}, "DeviceHistory": DeviceHistory{}, "TopDevice": TopDevice{}, "TopPage": TopPage{}, "Ban": Ban{}, "BanPage": Page[Ban]{}, "Flapping": Flapping{},
		"AdmissionRule": AdmissionRule{}, "AdmissionReport": AdmissionReport{}, "StageTime": StageTime{},
		"Erased": Erased{}, "SessionDetailPage": Page[SessionDetail]{},
		"Trace": Trace{}, "TraceLine": TraceLine{}, "TraceStarted": TraceStarted{}, "TraceList": TraceList{}, "TracePage": TracePage{},
		"Evacuation": Evacuation{}, "EvacuationPage": Page[Evacuation]{}, "EvacuationStep": EvacuationStep{}, "EvacuationChange": EvacuationChange{},
		"Rebalance": Rebalance{}, "RebalanceNode": RebalanceNode{}, "RebalanceChange": RebalanceChange{},
		"ObjectsText": ObjectsText{}, "ObjectsRevision": ObjectsRevision{}, "ObjectsFile": ObjectsFile{}, "ObjectsChange": ObjectsChange{}, "ObjectsJudgement": ObjectsJudgement{}, "ObjectsJudgementPage": Page[ObjectsJudgement]{}, "ObjectsDiff": ObjectsDiff{}, "Rollout": Rollout{}, "Harm": Harm{}, "RuleDenials": RuleDenials{}, "GuardRates": GuardRates{}, "GuardRate": GuardRate{}, "ACLRule": ACLRule{}, "ACLAnswer": ACLAnswer{}, "ACLDecision": ACLDecision{}, "User": User{}, "UserEdit": UserEdit{}, "Token": Token{}, "TokenAdded": TokenAdded{}, "ObjectsRevisionPage": Page[ObjectsRevision]{}, "ACLRulePage": Page[ACLRule]{}, "UserPage": Page[User]{}, "TokenPage": Page[Token]{},
		"LinkInterest": LinkInterest{}, "LinkSpool": LinkSpool{}, "LinkCursor": LinkCursor{}, "Route": Route{}, "Target": Target{},
		"AuditRecord": AuditRecord{}, "AuditPage": Page[AuditRecord]{}, "AuditVerified": AuditVerified{}, "Retained": Retained{}, "RetainedDetail": RetainedDetail{}, "ConfigValue": ConfigValue{}, "Change": Change{},
		"Progress": Progress{}, "Cluster": Cluster{}, "ClusterNode": ClusterNode{}, "Quorum": Quorum{}, "ForgetRequest": ForgetRequest{}, "Health": healthBody{}, "Refusal": Refusal{}, "Problem": Problem{},
		"ClientPage": ClientPage{}, "Unanswered": Unanswered{}, "NodePage": NodePage{}, "NodeSummary": NodeSummary{}, "SessionPage": Page[Session]{}, "QueuedMessagePage": Page[QueuedMessage]{}, "LinkPage": Page[Link]{},
		"RetainedPage": Page[Retained]{}, "SharedGroup": SharedGroup{}, "SharedAway": SharedAway{}, "SharedGroupPage": Page[SharedGroup]{}, "ConfigValuePage": Page[ConfigValue]{}, "ServicePage": Page[Service]{}}
	schemas := at(t, doc, doc, "components", "schemas")
	for name := range schemas {
		v, ok := types[name]
		if !ok {
			t.Errorf("the schema %s has no struct", name)
			continue
		}
		schema := at(t, doc, schemas, name)
		if schema["additionalProperties"] != false {
			t.Errorf("%s: additionalProperties is not false", name)
		}
		var required, properties []string
		typ := reflect.TypeOf(v)
		for i := range typ.NumField() {
			if typ.Field(i).Tag.Get("json") == "-" {
				continue
			}
			tag, omit, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			properties = append(properties, tag)
			if omit == "" {
				required = append(required, tag)
			}
			field := at(t, doc, schema, "properties", tag)
			if got, want := fmt.Sprint(kinds(field)), fmt.Sprint(jsonKinds(typ.Field(i).Type)); got != want {
				t.Errorf("%s.%s: documented as %s, is %s", name, tag, got, want)
			}
		}
		documented := []string{}
		for p := range schema["properties"].(object) {
			documented = append(documented, p)
		}
		slices.Sort(documented)
		if slices.Sort(properties); !slices.Equal(documented, properties) {
			t.Errorf("%s: documented %v, has %v", name, documented, properties)
		}
		if slices.Sort(required); !slices.Equal(slices.Sorted(slices.Values(strs(schema["required"]))), required) {
			t.Errorf("%s: required %v, always there %v", name, schema["required"], required)
		}
		delete(types, name)
	}
	for name := range types {
		t.Errorf("the struct %s has no schema", name)
	}
}

// kinds are the JSON types a schema allows.
func kinds(schema object) (out []string) {
	switch typ := schema["type"].(type) {
	case string:
		out = append(out, typ)
	case []any:
		out = strs(schema["type"])
	}
	for _, s := range anys(schema["oneOf"]) {
		out = append(out, kinds(s.(object))...)
	}
	if schema["$ref"] != nil || schema["properties"] != nil && schema["type"] == nil {
		out = append(out, "object")
	}
	slices.Sort(out)
	return out
}

// jsonKinds are the JSON types a Go type becomes.
func jsonKinds(t reflect.Type) []string {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return []string{"string"}
	case t == reflect.TypeFor[[]byte]():
		return []string{"null", "string"}
	case t.Kind() == reflect.Pointer:
		return slices.Sorted(slices.Values(append(jsonKinds(t.Elem()), "null")))
	case t.Kind() == reflect.Slice:
		return []string{"array"}
	case t.Kind() == reflect.Struct:
		return []string{"object"}
	case t.Kind() == reflect.Float64:
		return []string{"number"}
	case t.Kind() == reflect.Bool:
		return []string{"boolean"}
	case t.Kind() == reflect.String:
		return []string{"string"}
	}
	return []string{"integer"}
}

// What the server sends is what the document says, down to each field.
func TestDocument_AnswersMatch(t *testing.T) {
	doc := document(t)
	empty := &fake{}
	empty.st.Region = "eu"
	calls := []struct {
		method, pattern, path, body string
		status                      int
	}{
		{"GET", "/healthz", "/healthz", "", 200},
		{"GET", "/readyz", "/readyz", "", 200},
		{"GET", "/v1/version", "/v1/version", "", 200},
		{"GET", "/v1/status", "/v1/status", "", 200},
		{"GET", "/v1/nodes", "/v1/nodes", "", 200},
		{"GET", "/v1/alarms", "/v1/alarms", "", 200},
		{"GET", "/v1/retained/export", "/v1/retained/export?namespace=cars", "", 200},
		{"POST", "/v1/retained/import", "/v1/retained/import?dry_run=true", `{"items":[{"namespace":"cars","topic":"x","qos":1,"payload":"eA==","properties":"","expires_at":null}]}`, 200},
		{"POST", "/v1/retained/import", "/v1/retained/import", `{"item":[]}`, 400},
		{"GET", "/v1/services", "/v1/services", "", 200},
		{"GET", "/v1/shared", "/v1/shared?limit=5", "", 200},
		{"GET", "/v1/config", "/v1/config", "", 200},
		{"GET", "/v1/audit", "/v1/audit?limit=5", "", 200},
		{"GET", "/v1/audit/verify", "/v1/audit/verify", "", 200},
		{"GET", "/v1/clients", "/v1/clients", "", 200},
		{"GET", "/v1/clients/{namespace}/{client_id}", "/v1/clients/cars/car-1", "", 200},
		{"GET", "/v1/clients/{namespace}/{client_id}", "/v1/clients/cars/none", "", 404},
		{"DELETE", "/v1/clients/{namespace}/{client_id}", "/v1/clients/cars/car-1", "", 200},
		{"GET", "/v1/sessions", "/v1/sessions", "", 200},
		{"GET", "/v1/sessions/{namespace}/{client_id}", "/v1/sessions/cars/car-1", "", 200},
		{"DELETE", "/v1/sessions/{namespace}/{client_id}", "/v1/sessions/cars/car-1", "", 200},
		{"GET", "/v1/sessions/{namespace}/{client_id}/queue", "/v1/sessions/cars/car-1/queue?payload=true", "", 200},
		{"GET", "/v1/sessions/{namespace}/{client_id}/where", "/v1/sessions/cars/car-1/where", "", 200},
		{"POST", "/v1/sessions/{namespace}/{client_id}/move", "/v1/sessions/cars/car-1/move?to=us&dry_run=true", "", 200},
		{"POST", "/v1/links/{peer}/test", "/v1/links/us/test?topic=a&bytes=100", "", 200},
		{"POST", "/v1/links/{peer}/test", "/v1/links/us/test?bytes=1000000000", "", 400},
		{"POST", "/v1/links/{peer}/test", "/v1/links/ap/test", "", 404},
		{"GET", "/v1/readiness", "/v1/readiness?refresh=true", "", 200},
		{"GET", "/v1/events", "/v1/events?after=0", "", 200},
		{"GET", "/v1/events", "/v1/events?after=x", "", 400},
		{"GET", "/v1/drills", "/v1/drills", "", 200},
		{"GET", "/v1/drills/{id}", "/v1/drills/q-1", "", 200},
		{"GET", "/v1/drills/{id}", "/v1/drills/q-9", "", 404},
		{"PUT", "/v1/drills/{id}", "/v1/drills/q-2", `{"id":"q-2","name":"q","started":"2026-03-01T12:00:00Z"}`, 200},
		{"PUT", "/v1/drills/{id}", "/v1/drills/q-2", `{"id":"q-3","name":"q","started":"2026-03-01T12:00:00Z"}`, 400},
		{"POST", "/v1/drills/{id}/approve", "/v1/drills/q-1/approve?step=lose+eu", "", 200},
		{"POST", "/v1/drills/{id}/approve", "/v1/drills/q-1/approve", "", 400},
		{"POST", "/v1/drills/{id}/abort", "/v1/drills/q-1/abort?reason=enough", "", 200},
		{"POST", "/v1/drills/{id}/observe", "/v1/drills/q-1/observe", "", 200},
		{"GET", "/v1/readiness", "/v1/readiness?refresh=now", "", 400},
		{"GET", "/v1/cluster", "/v1/cluster", "", 200},
		{"POST", "/v1/cluster/join", "/v1/cluster/join?target=10.0.0.1:7946", "", 200},
		{"POST", "/v1/cluster/leave", "/v1/cluster/leave?target=eu-2", "", 200},
		{"POST", "/v1/cluster/leave", "/v1/cluster/leave", "", 400},
		{"POST", "/v1/cluster/force-leave", "/v1/cluster/force-leave?target=eu-2&dry_run=true", "", 200},
		{"POST", "/v1/cluster/transfer", "/v1/cluster/transfer", "", 200},
		{"GET", "/v1/links", "/v1/links", "", 200},
		{"GET", "/v1/links/{peer}", "/v1/links/us", "", 200},
		{"GET", "/v1/links/{peer}/policy", "/v1/links/us/policy", "", 200},
		{"POST", "/v1/links/{peer}/policy", "/v1/links/us/policy?dry_run=true", `{"set":[{"key":"rate","value":["1MB/s"]}],"reset":[]}`, 200},
		{"POST", "/v1/links/{peer}/pause", "/v1/links/us/pause?for=30m&reason=x", "", 200},
		{"POST", "/v1/links/{peer}/pause", "/v1/links/us/pause?for=never", "", 400},
		{"POST", "/v1/links/{peer}/resume", "/v1/links/us/resume", "", 200},
		{"GET", "/v1/links/{peer}/drain", "/v1/links/us/drain?to=9", "", 200},
		{"GET", "/v1/links/{peer}/spool", "/v1/links/us/spool?depth=3", "", 200},
		{"GET", "/v1/links/{peer}/spool", "/v1/links/us/spool?depth=9", "", 400},
		{"POST", "/v1/links/{peer}/spool/trim", "/v1/links/us/spool/trim?filter=a%2F%23&older_than=2d", `{"confirm":"us"}`, 200},
		{"POST", "/v1/links/{peer}/spool/trim", "/v1/links/us/spool/trim?filter=a", "", 409},
		{"POST", "/v1/links/{peer}/spool/trim", "/v1/links/us/spool/trim?filter=a%2F%23%2Fb", `{"confirm":"us"}`, 400},
		{"POST", "/v1/peers/{peer}/forget", "/v1/peers/us/forget", `{"confirm":"us"}`, 200},
		{"POST", "/v1/peers/{peer}/forget", "/v1/peers/us/forget", "", 409},
		{"GET", "/v1/homes", "/v1/homes", "", 200},
		{"GET", "/v1/homes/{home}", "/v1/homes/eu", "", 200},
		{"GET", "/v1/homes/{home}", "/v1/homes/mars", "", 404},
		{"POST", "/v1/homes/{home}/switchover", "/v1/homes/eu/switchover?to=us&within=5s", `{"confirm":"eu"}`, 200},
		{"POST", "/v1/homes/{home}/switchover", "/v1/homes/eu/switchover?dry_run=true", "", 400},
		{"POST", "/v1/homes/{home}/failover", "/v1/homes/eu/failover?force=true&dry_run=true", "", 200},
		{"POST", "/v1/homes/{home}/failover", "/v1/homes/eu/failover", `{"confirm":"us"}`, 409},
		{"POST", "/v1/homes/{home}/fence", "/v1/homes/eu/fence", `{"confirm":"eu"}`, 200},
		{"POST", "/v1/homes/{home}/resume", "/v1/homes/eu/resume?force=true", `{"confirm":"eu"}`, 200},
		{"GET", "/v1/homes/{home}/divergence", "/v1/homes/eu/divergence", "", 200},
		{"POST", "/v1/homes/{home}/reconcile", "/v1/homes/eu/reconcile?replay=report&max_age=1h", `{"confirm":"eu"}`, 200},
		{"POST", "/v1/homes/{home}/reconcile", "/v1/homes/eu/reconcile?replay=twice", `{"confirm":"eu"}`, 400},
		{"POST", "/v1/homes/{home}/discard", "/v1/homes/eu/discard", `{"confirm":"eu"}`, 200},
		{"POST", "/v1/homes/{home}/discard", "/v1/homes/eu/discard", "", 409},
		{"GET", "/v1/clients/{namespace}/{client_id}/history", "/v1/clients/cars/car-1/history", "", 200},
		{"GET", "/v1/top", "/v1/top?by=connects&limit=5", "", 200},
		{"GET", "/v1/top", "/v1/top?by=beauty", "", 400},
		{"GET", "/v1/bans", "/v1/bans", "", 200},
		{"POST", "/v1/bans", "/v1/bans?kind=client&namespace=cars&value=mad&for=1h&reason=x", "", 200},
		{"DELETE", "/v1/bans/{id}", "/v1/bans/0123", "", 200},
		{"GET", "/v1/flapping", "/v1/flapping", "", 200},
		{"GET", "/v1/region/evacuation", "/v1/region/evacuation", "", 200},
		{"POST", "/v1/region/{region}/evacuate", "/v1/region/eu/evacuate?to=us&conn_evict_rate=100", `{"confirm":"eu"}`, 200},
		{"POST", "/v1/region/{region}/evacuate", "/v1/region/eu/evacuate?to=us", `{"confirm":"us"}`, 409},
		{"POST", "/v1/region/{region}/evacuate/stop", "/v1/region/eu/evacuate/stop", "", 200},
		{"POST", "/v1/erase/{namespace}/{client_id}", "/v1/erase/cars/car-1?retained=fleet%2F%23", "", 200},
		{"POST", "/v1/erase/{namespace}/{client_id}", "/v1/erase/cars/car-1?retained=a%2F%23%2Fb", "", 400},
		{"GET", "/v1/sessions/export", "/v1/sessions/export?namespace=cars", "", 200},
		{"GET", "/v1/traces", "/v1/traces", "", 200},
		{"POST", "/v1/traces", "/v1/traces?kind=topic&value=cmd%2F%23&for=5m&lines=20", "", 200},
		{"POST", "/v1/traces", "/v1/traces?kind=topic&value=a&lines=0", "", 400},
		{"GET", "/v1/traces/{id}", "/v1/traces/t1?limit=2", "", 200},
		{"GET", "/v1/traces/{id}", "/v1/traces/t1?after=eu-1", "", 400},
		{"POST", "/v1/traces/{id}/stop", "/v1/traces/t1/stop", "", 200},
		{"POST", "/v1/traces/{id}/stop", "/v1/traces/none/stop", "", 404},
		{"POST", "/v1/flapping", "/v1/flapping?connects=30&within=1m&jail=5m", "", 200},
		{"POST", "/v1/flapping", "/v1/flapping?connects=many", "", 400},
		{"GET", "/v1/admission", "/v1/admission", "", 200},
		{"POST", "/v1/admission", "/v1/admission?per_second=2000&for=30m&reason=storm", "", 200},
		{"POST", "/v1/admission", "/v1/admission?per_second=0", "", 400},
		{"GET", "/v1/evacuations", "/v1/evacuations", "", 200},
		{"GET", "/v1/evacuations/{node}", "/v1/evacuations/eu-1", "", 200},
		{"GET", "/v1/evacuations/{node}", "/v1/evacuations/eu-2", "", 404},
		{"POST", "/v1/evacuations/{node}/start", "/v1/evacuations/eu-1/start?conn_evict_rate=100&sess_evict_rate=50&wait_health_check=0s&wait_takeover=1m&reason=kernel", "", 200},
		{"POST", "/v1/evacuations/{node}/start", "/v1/evacuations/eu-1/start?conn_evict_rate=many", "", 400},
		{"POST", "/v1/evacuations/{node}/stop", "/v1/evacuations/eu-1/stop", "", 200},
		{"GET", "/v1/rebalance", "/v1/rebalance", "", 200},
		{"POST", "/v1/rebalance/start", "/v1/rebalance/start?nodes=eu-1,eu-2&abs_conn_threshold=10&rel_conn_threshold=1.5&dry_run=true", "", 200},
		{"POST", "/v1/rebalance/start", "/v1/rebalance/start?rel_conn_threshold=x", "", 400},
		{"POST", "/v1/rebalance/stop", "/v1/rebalance/stop", "", 200},
		{"GET", "/v1/upgrade", "/v1/upgrade?to=v2", "", 200},
		{"POST", "/v1/upgrade", "/v1/upgrade?dry_run=true", "", 200},
		{"GET", "/v1/backups", "/v1/backups?place=%2Fb", "", 200},
		{"POST", "/v1/backups", "/v1/backups?home=eu", "", 200},
		{"GET", "/v1/backups/jobs", "/v1/backups/jobs", "", 200},
		{"POST", "/v1/backups/{name}/verify", "/v1/backups/eu-1/verify", "", 200},
		{"GET", "/v1/backups/{name}/locks", "/v1/backups/eu-1/locks?place=%2Fb", "", 200},
		{"POST", "/v1/backups/{name}/restore", "/v1/backups/eu-1/restore?namespace=cars&replace=true", `{"confirm":"cars","keys":[{"part":"part-00001","key":"AAAA"}]}`, 200},
		{"POST", "/v1/backups/{name}/restore", "/v1/backups/eu-1/restore?namespace=cars&dry_run=true", `{"confirm":"","keys":[]}`, 200},
		{"POST", "/v1/backups/{name}/restore", "/v1/backups/eu-1/restore?namespace=cars", `{"confirm":"vans","keys":[]}`, 409},
		{"POST", "/v1/backups/{name}/restore", "/v1/backups/eu-1/restore", `{"confirm":"","keys":[]}`, 400},
		{"POST", "/v1/services/{service}/restart", "/v1/services/link%2Feu/restart?dry_run=true", "", 200},
		{"POST", "/v1/services/{service}/restart", "/v1/services/replica/restart", "", 409},
		{"POST", "/v1/services/{service}/restart", "/v1/services/nothing/restart", "", 404},
		{"POST", "/v1/config/reload", "/v1/config/reload?dry_run=true", "", 200},
		{"GET", "/v1/objects", "/v1/objects?section=acl", "", 200},
		{"GET", "/v1/objects", "/v1/objects?revision=404", "", 404},
		{"POST", "/v1/objects", "/v1/objects?canary=eu-1&watch=5m&auto_rollback=true&note=x&seen=9", `{"name":"f","text":"acl: []"}`, 200},
		{"POST", "/v1/objects", "/v1/objects?watch=never", "", 400},
		{"POST", "/v1/objects/diff", "/v1/objects/diff", `{"name":"f","text":"bad"}`, 400},
		{"POST", "/v1/objects/diff", "/v1/objects/diff", `{"text":"acl: []"}`, 200},
		{"POST", "/v1/objects/judge", "/v1/objects/judge?home=us", `{"text":"acl: []"}`, 200},
		{"POST", "/v1/objects/judge", "/v1/objects/judge?home=mars", `{"text":"acl: []"}`, 404},
		{"GET", "/v1/objects/history", "/v1/objects/history", "", 200},
		{"POST", "/v1/objects/rollback", "/v1/objects/rollback?revision=7", "", 200},
		{"GET", "/v1/objects/rollout", "/v1/objects/rollout", "", 200},
		{"GET", "/v1/objects/guard", "/v1/objects/guard?seconds=5", "", 200},
		{"GET", "/v1/objects/guard", "/v1/objects/guard?seconds=0", "", 400},
		{"GET", "/v1/objects/acl", "/v1/objects/acl", "", 200},
		{"GET", "/v1/objects/acl/test", "/v1/objects/acl/test?client=a&topic=b", "", 200},
		{"GET", "/v1/objects/acl/test", "/v1/objects/acl/test?client=a", "", 400},
		{"GET", "/v1/tokens", "/v1/tokens", "", 200},
		{"POST", "/v1/tokens/{name}", "/v1/tokens/ci?role=viewer", "", 200},
		{"POST", "/v1/tokens/{name}", "/v1/tokens/ci?role=king", "", 400},
		{"DELETE", "/v1/tokens/{name}", "/v1/tokens/ci", "", 200},
		{"GET", "/v1/users", "/v1/users", "", 200},
		{"POST", "/v1/users/{name}", "/v1/users/bob", `{"password":"x"}`, 200},
		{"PUT", "/v1/users/{name}", "/v1/users/bob", `{"hash":"x"}`, 200},
		{"DELETE", "/v1/users/{name}", "/v1/users/bob", "", 200},
		{"GET", "/v1/routes", "/v1/routes?topic=a", "", 200},
		{"GET", "/v1/retained", "/v1/retained", "", 200},
		{"GET", "/v1/retained/{namespace}/{topic}", "/v1/retained/cars/fleet%2Fa", "", 200},
		{"DELETE", "/v1/retained/{namespace}/{topic}", "/v1/retained/cars/fleet%2Fa", "", 200},
	}
	ops, asked := operations(t, doc), map[string]bool{}
	for _, c := range calls {
		op := ops[c.method+" "+c.pattern]
		asked[c.method+" "+c.pattern] = true
		for name, f := range map[string]*fake{"full": newFake(), "empty": empty} {
			s := fixture(t, f)
			s.supervised = func() []supervise.Status {
				return []supervise.Status{{Name: "replica", State: supervise.StateRunning}, {Name: "link/eu", State: supervise.StateIsolated, NextStart: noon}}
			}
			s.restart = func(string) error { return nil }
			if name == "empty" {
				s.supervised = func() []supervise.Status { return nil }
				s.health.Remove("replica")
				s.health.Set("replica", health.OK())
			}
			w := call(t, s, c.method, c.path, c.body)
			if name == "full" && w.Code != c.status {
				t.Fatalf("%s %s: %d %s", c.method, c.path, w.Code, w.Body)
			}
			responses := at(t, doc, op, "responses")
			key, media := "default", "application/problem+json"
			if w.Code == http.StatusOK {
				key, media = "200", "application/json"
			}
			schema := at(t, doc, responses, key, "content", media, "schema")
			var v any
			if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
				t.Fatal(err)
			}
			check(t, doc, schema, v, name+" "+c.method+" "+c.path)
		}
	}
	for name := range ops {
		if !asked[name] && name != "GET /metrics" && name != "GET /openapi.yaml" && name != "GET /v1/audit/export" && name != "GET /v1/profile/{profile}" {
			t.Errorf("no call to %s", name)
		}
	}
}

// check validates v against the part of JSON Schema the document uses.
func check(t *testing.T, doc, schema object, v any, where string) {
	t.Helper()
	if schema["$ref"] != nil {
		schema = at(t, doc, schema)
	}
	if one := anys(schema["oneOf"]); one != nil {
		if v != nil { // the other alternative is null
			check(t, doc, one[0].(object), v, where)
		}
		return
	}
	allowed := kinds(schema)
	if kind := kindOf(v); !slices.Contains(allowed, kind) && (kind != "integer" || !slices.Contains(allowed, "number")) {
		t.Errorf("%s is %s, documented %v", where, kind, allowed)
		return
	}
	if enum := anys(schema["enum"]); enum != nil && !slices.Contains(enum, v) {
		t.Errorf("%s is %v, documented %v", where, v, enum)
	}
	switch v := v.(type) {
	case []any:
		for i, item := range v {
			check(t, doc, schema["items"].(object), item, fmt.Sprintf("%s[%d]", where, i))
		}
	case object:
		for _, r := range strs(schema["required"]) {
			if _, ok := v[r]; !ok {
				t.Errorf("%s has no %s", where, r)
			}
		}
		for name, field := range v {
			p, ok := schema["properties"].(object)[name]
			if !ok {
				t.Errorf("%s has %s, which is not documented", where, name)
				continue
			}
			check(t, doc, p.(object), field, where+"."+name)
		}
	}
}

func kindOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case []any:
		return "array"
	case float64:
		if v == float64(int64(v)) {
			return "integer"
		}
		return "number"
	}
	return "object"
}
