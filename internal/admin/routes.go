package admin

import (
	_ "embed"
	"net/http"
	"runtime"
)

// openAPI is the document the API is written against.
//
//go:embed openapi.yaml
var openAPI []byte

// OpenAPI returns the OpenAPI 3.1 document of the API. The caller must not write it.
func OpenAPI() []byte { return openAPI }

// routes is the whole API. Names in a path (a namespace, a client id, a topic) are one segment
// each, percent-encoded.
func (a *api) routes() []route {
	list := func(more ...string) []string { return append(more, "limit", "after") }
	const get, post, put, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete
	return []route{
		{method: get, path: "/healthz", raw: a.healthz},
		{method: get, path: "/readyz", params: []string{"drain"}, raw: a.readyz},
		{method: get, path: "/metrics", role: RoleViewer, raw: a.metrics.ServeHTTP},
		{method: get, path: "/openapi.yaml", raw: a.document},
		{method: get, path: "/v1/version", handle: a.version},
		{method: get, path: "/v1/status", role: RoleViewer, handle: a.status, peers: true},
		{method: get, path: "/v1/nodes", role: RoleViewer, handle: a.listNodes},
		{method: get, path: "/v1/alarms", role: RoleViewer, handle: a.listAlarms, peers: true},
		{method: get, path: "/v1/readiness", role: RoleViewer, params: []string{"refresh"}, handle: a.readiness, peers: true},
		{method: get, path: "/v1/services", role: RoleViewer, handle: a.listServices},
		{method: post, path: "/v1/services/{service}/restart", role: RoleOperator, params: []string{"dry_run"}, handle: a.restartService},
		{method: get, path: "/v1/config", role: RoleViewer, handle: a.listConfig},
		{method: post, path: "/v1/config/reload", role: RoleAdmin, params: []string{"dry_run"}, handle: a.reloadConfig},
		{method: get, path: "/v1/audit", role: RoleOperator, params: list(), handle: a.listAudit},
		{method: get, path: "/v1/audit/export", role: RoleOperator, raw: a.exportAudit},
		{method: get, path: "/v1/audit/verify", role: RoleOperator, handle: a.verifyAudit},
		{method: get, path: "/v1/clients", role: RoleViewer, params: list("namespace", "prefix", "listener", "node"), handle: a.listClients, peers: true},
		{method: get, path: "/v1/clients/{namespace}/{client_id}", role: RoleViewer, handle: a.getClient, peers: true},
		{method: del, path: "/v1/clients/{namespace}/{client_id}", role: RoleOperator, params: []string{"dry_run"}, handle: a.kickClient, peers: true},
		{method: get, path: "/v1/sessions", role: RoleViewer, params: list("home", "namespace", "prefix", "state"), handle: a.listSessions},
		{method: get, path: "/v1/sessions/export", role: RoleViewer, params: list("home", "namespace", "prefix", "state"), handle: a.exportSessions},
		{method: get, path: "/v1/sessions/{namespace}/{client_id}", role: RoleViewer, handle: a.getSession},
		{method: del, path: "/v1/sessions/{namespace}/{client_id}", role: RoleAdmin, params: []string{"dry_run", "publish_will"}, handle: a.deleteSession},
		{method: get, path: "/v1/sessions/{namespace}/{client_id}/queue", role: RoleViewer, params: list("payload"), handle: a.sessionQueue},
		{method: get, path: "/v1/sessions/{namespace}/{client_id}/where", role: RoleViewer, handle: a.whereSession},
		{method: post, path: "/v1/sessions/{namespace}/{client_id}/move", role: RoleOperator, params: []string{"dry_run", "to"}, handle: a.moveSession},
		{method: get, path: "/v1/cluster", role: RoleViewer, handle: a.getCluster},
		{method: post, path: "/v1/cluster/join", role: RoleOperator, params: []string{"dry_run", "target"}, handle: a.changeCluster(ClusterJoin, "join")},
		{method: post, path: "/v1/cluster/leave", role: RoleAdmin, params: []string{"dry_run", "target"}, handle: a.changeCluster(ClusterLeave, "leave")},
		{method: post, path: "/v1/cluster/force-leave", role: RoleAdmin, params: []string{"dry_run", "target"}, handle: a.changeCluster(ClusterForceLeave, "force-leave")},
		{method: post, path: "/v1/cluster/transfer", role: RoleOperator, params: []string{"dry_run", "target"}, handle: a.changeCluster(ClusterTransfer, "transfer the leadership")},
		{method: get, path: "/v1/links", role: RoleViewer, handle: a.listLinks, peers: true},
		{method: get, path: "/v1/links/{peer}", role: RoleViewer, handle: a.getLink, peers: true},
		{method: get, path: "/v1/links/{peer}/policy", role: RoleViewer, handle: a.getLinkPolicy},
		{method: post, path: "/v1/links/{peer}/policy", role: RoleAdmin, params: []string{"dry_run"}, handle: a.changeLinkPolicy},
		{method: post, path: "/v1/links/{peer}/pause", role: RoleOperator, params: []string{"dry_run", "for", "reason"}, handle: a.pauseLink},
		{method: post, path: "/v1/links/{peer}/resume", role: RoleOperator, params: []string{"dry_run"}, handle: a.resumeLink},
		{method: get, path: "/v1/links/{peer}/drain", role: RoleViewer, params: []string{"to"}, handle: a.getDrain},
		{method: get, path: "/v1/links/{peer}/spool", role: RoleViewer, params: []string{"depth"}, handle: a.getSpool},
		{method: post, path: "/v1/links/{peer}/spool/trim", role: RoleAdmin, params: []string{"dry_run", "filter", "class", "older_than"}, handle: a.trimSpool},
		{method: post, path: "/v1/links/{peer}/test", role: RoleOperator, params: []string{"topic", "namespace", "bytes"}, handle: a.testLink, peers: true},
		{method: post, path: "/v1/peers/{peer}/forget", role: RoleAdmin, params: []string{"dry_run"}, handle: a.forgetPeer},
		{method: get, path: "/v1/profile/{profile}", role: RoleAdmin, raw: a.profile},
		{method: get, path: "/v1/homes", role: RoleViewer, handle: a.listRegionHomes, peers: true},
		{method: get, path: "/v1/homes/{home}", role: RoleViewer, handle: a.getRegionHome, peers: true},
		{method: post, path: "/v1/homes/{home}/switchover", role: RoleAdmin, params: []string{"dry_run", "to", "within", "by"}, handle: a.actOnRegion(RegionSwitchover), peers: true},
		{method: post, path: "/v1/homes/{home}/failover", role: RoleAdmin, params: []string{"dry_run", "force", "by"}, handle: a.actOnRegion(RegionFailover), peers: true},
		{method: post, path: "/v1/homes/{home}/fence", role: RoleAdmin, params: []string{"dry_run", "by"}, handle: a.actOnRegion(RegionFence), peers: true},
		{method: post, path: "/v1/homes/{home}/resume", role: RoleAdmin, params: []string{"dry_run", "force", "by"}, handle: a.actOnRegion(RegionResume), peers: true},
		{method: get, path: "/v1/homes/{home}/divergence", role: RoleViewer, handle: a.getDivergence, peers: true},
		{method: post, path: "/v1/homes/{home}/reconcile", role: RoleAdmin, params: []string{"dry_run", "replay", "max_age", "by"}, handle: a.reconcile(false), peers: true},
		{method: post, path: "/v1/homes/{home}/discard", role: RoleAdmin, params: []string{"dry_run", "by"}, handle: a.reconcile(true), peers: true},
		{method: get, path: "/v1/clients/{namespace}/{client_id}/history", role: RoleViewer, handle: a.deviceHistory, peers: true},
		{method: get, path: "/v1/top", role: RoleViewer, params: []string{"by", "limit"}, handle: a.topDevices, peers: true},
		{method: get, path: "/v1/bans", role: RoleViewer, handle: a.listBans},
		{method: post, path: "/v1/bans", role: RoleOperator, params: []string{"dry_run", "kind", "namespace", "value", "for", "reason"}, handle: a.addBan},
		{method: del, path: "/v1/bans/{id}", role: RoleOperator, params: []string{"dry_run"}, handle: a.deleteBan},
		{method: post, path: "/v1/erase/{namespace}/{client_id}", role: RoleAdmin, params: []string{"dry_run", "retained"}, handle: a.eraseClient, hashed: true, peers: true},
		{method: get, path: "/v1/traces", role: RoleViewer, handle: a.listTraces, peers: true},
		{method: post, path: "/v1/traces", role: RoleOperator, params: []string{"dry_run", "kind", "namespace", "value", "for", "lines", "payload", "id", "by"}, handle: a.startTrace, peers: true},
		{method: get, path: "/v1/traces/{id}", role: RoleOperator, params: list("payload"), handle: a.getTrace, peers: true},
		{method: post, path: "/v1/traces/{id}/stop", role: RoleOperator, params: []string{"dry_run"}, handle: a.stopTrace, peers: true},
		{method: get, path: "/v1/flapping", role: RoleViewer, handle: a.getFlapping},
		{method: post, path: "/v1/flapping", role: RoleOperator, params: []string{"dry_run", "connects", "within", "jail", "off"}, handle: a.setFlapping},
		{method: get, path: "/v1/admission", role: RoleViewer, handle: a.getAdmission},
		{method: post, path: "/v1/admission", role: RoleOperator, params: []string{"dry_run", "per_second", "for", "reason", "off"}, handle: a.setAdmission},
		{method: get, path: "/v1/evacuations", role: RoleViewer, handle: a.listEvacuations},
		{method: get, path: "/v1/evacuations/{node}", role: RoleViewer, handle: a.getEvacuation},
		{method: post, path: "/v1/evacuations/{node}/start", role: RoleOperator, params: append([]string{"sess_evict_rate"}, paceParams...), handle: a.startEvacuation},
		{method: post, path: "/v1/evacuations/{node}/stop", role: RoleOperator, params: []string{"dry_run"}, handle: a.stopEvacuation},
		{method: get, path: "/v1/region/evacuation", role: RoleViewer, handle: a.getRegionEvacuation, peers: true},
		{method: post, path: "/v1/region/{region}/evacuate", role: RoleAdmin, params: append([]string{"to", "by", "connections"}, paceParams...), handle: a.startRegionEvacuation, peers: true},
		{method: post, path: "/v1/region/{region}/evacuate/stop", role: RoleAdmin, params: []string{"dry_run"}, handle: a.stopRegionEvacuation},
		{method: get, path: "/v1/rebalance", role: RoleViewer, handle: a.getRebalance},
		{method: post, path: "/v1/rebalance/start", role: RoleOperator, params: append([]string{"nodes", "abs_conn_threshold", "rel_conn_threshold"}, paceParams...), handle: a.startRebalance},
		{method: post, path: "/v1/rebalance/stop", role: RoleOperator, params: []string{"dry_run"}, handle: a.stopRebalance},
		{method: get, path: "/v1/upgrade", role: RoleViewer, params: []string{"to"}, handle: a.getUpgrade},
		{method: post, path: "/v1/upgrade", role: RoleAdmin, params: []string{"dry_run", "by"}, handle: a.finalizeUpgrade, peers: true},
		{method: get, path: "/v1/backups", role: RoleOperator, params: []string{"place"}, handle: a.listBackups},
		{method: post, path: "/v1/backups", role: RoleAdmin, params: []string{"dry_run", "place", "home"}, handle: a.backupAct(BackupCreate)},
		{method: get, path: "/v1/backups/jobs", role: RoleViewer, handle: a.listBackupJobs},
		{method: post, path: "/v1/backups/{name}/verify", role: RoleOperator, params: []string{"dry_run", "place"}, handle: a.backupAct(BackupVerify)},
		{method: get, path: "/v1/backups/{name}/locks", role: RoleAdmin, params: []string{"place"}, handle: a.listBackupLocks},
		{method: post, path: "/v1/backups/{name}/restore", role: RoleAdmin, params: []string{"dry_run", "place", "home", "namespace", "replace"}, handle: a.backupAct(BackupRestore), long: true, secret: true},
		{method: get, path: "/v1/events", role: RoleViewer, params: []string{"after"}, raw: a.serveEvents},
		{method: get, path: "/v1/drills", role: RoleViewer, handle: a.listDrills},
		{method: get, path: "/v1/drills/{id}", role: RoleViewer, handle: a.getDrill},
		{method: http.MethodPut, path: "/v1/drills/{id}", role: RoleAdmin, handle: a.putDrill},
		{method: post, path: "/v1/drills/{id}/approve", role: RoleOperator, params: []string{"step", "reason"}, handle: a.touchDrill(DrillApprove)},
		{method: post, path: "/v1/drills/{id}/abort", role: RoleOperator, params: []string{"reason"}, handle: a.touchDrill(DrillAbort)},
		{method: post, path: "/v1/drills/{id}/observe", role: RoleViewer, params: []string{"reason"}, handle: a.touchDrill(DrillObserve)},
		{method: get, path: "/v1/objects", role: RoleViewer, params: []string{"home", "section", "all", "revision"}, handle: a.ofHome(a.getObjects)},
		{method: post, path: "/v1/objects", role: RoleAdmin, params: []string{"home", "dry_run", "canary", "watch", "auto_rollback", "note", "seen"}, handle: a.ofHome(a.applyObjects), long: true},
		{method: post, path: "/v1/objects/diff", role: RoleViewer, params: []string{"home"}, handle: a.ofHome(a.diffObjects), long: true, reads: true},
		{method: post, path: "/v1/objects/judge", role: RoleViewer, params: []string{"home"}, handle: a.ofHome(a.judgeObjects), long: true, reads: true, peers: true},
		{method: get, path: "/v1/objects/history", role: RoleViewer, params: []string{"home"}, handle: a.ofHome(a.objectsHistory)},
		{method: post, path: "/v1/objects/rollback", role: RoleAdmin, params: []string{"home", "dry_run", "revision"}, handle: a.ofHome(a.rollBackObjects)},
		{method: get, path: "/v1/objects/rollout", role: RoleViewer, handle: a.getRollout},
		{method: get, path: "/v1/objects/guard", role: RoleViewer, params: []string{"seconds"}, handle: a.getGuard, peers: true},
		{method: get, path: "/v1/objects/acl", role: RoleViewer, handle: a.listACL},
		{method: get, path: "/v1/objects/acl/test", role: RoleViewer, params: []string{"client", "topic", "namespace", "username", "home"}, handle: a.testACL},
		{method: get, path: "/v1/tokens", role: RoleAdmin, params: []string{"home"}, handle: a.ofHome(a.listTokens)},
		{method: post, path: "/v1/tokens/{name}", role: RoleAdmin, params: []string{"home", "dry_run", "role"}, handle: a.ofHome(a.addToken)},
		{method: del, path: "/v1/tokens/{name}", role: RoleAdmin, params: []string{"home", "dry_run"}, handle: a.ofHome(a.revokeToken)},
		{method: get, path: "/v1/users", role: RoleViewer, params: []string{"home"}, handle: a.ofHome(a.listUsers)},
		{method: post, path: "/v1/users/{name}", role: RoleAdmin, params: []string{"home", "dry_run"}, handle: a.ofHome(a.setUser(true)), secret: true},
		{method: put, path: "/v1/users/{name}", role: RoleAdmin, params: []string{"home", "dry_run"}, handle: a.ofHome(a.setUser(false)), secret: true},
		{method: del, path: "/v1/users/{name}", role: RoleAdmin, params: []string{"home", "dry_run"}, handle: a.ofHome(a.deleteUser)},
		{method: get, path: "/v1/routes", role: RoleViewer, params: []string{"topic", "namespace"}, handle: a.testRoute},
		{method: get, path: "/v1/shared", role: RoleViewer, params: []string{"group", "limit"}, handle: a.listShared},
		{method: get, path: "/v1/retained", role: RoleViewer, params: list("namespace", "filter"), handle: a.listRetained},
		{method: get, path: "/v1/retained/export", role: RoleOperator, params: list("namespace", "filter"), handle: a.exportRetained, shows: true},
		{method: post, path: "/v1/retained/import", role: RoleAdmin, params: []string{"dry_run", "overwrite"}, handle: a.importRetained, bulk: true},
		{method: get, path: "/v1/retained/{namespace}/{topic}", role: RoleOperator, handle: a.getRetained, shows: true},
		{method: del, path: "/v1/retained/{namespace}/{topic}", role: RoleOperator, params: []string{"dry_run"}, handle: a.deleteRetained},
	}
}

func (a *api) document(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/yaml")
	_, _ = w.Write(openAPI) // the caller left
}

func (a *api) version(*http.Request, *query) (any, error) {
	return Version{Version: a.build.Version, Revision: a.build.Revision, Go: runtime.Version(), API: APIVersion, Features: Features()}, nil
}
