// Package admin is how operators and their tools look at a node and change it: an HTTP API with
// its OpenAPI document, the health pages for load balancers, the metrics, and the client that
// `causeway ctl` is made of.
//
// The API is versioned under /v1 and described by openapi.yaml, which is written first; a test
// holds the document and the code together. It is served on a Unix socket in the data directory
// (whoever may open it is admin) and, if configured, on TCP to callers with a bearer token. Every
// answer names the version and the features of the node, every error is an RFC 9457 problem with
// the fix in it.
//
// Any node speaks for its region: what another node knows (its devices' connections, its state) is
// asked there, by the same API on streams between the nodes, which serves a few routes to them.
//
// What it is not: it knows no broker, home or link. It asks the node through the Node interface in
// plain structs of its own; the app implements it. It decides nothing about the node.
//
// Who owns what: a Server owns its listeners and their goroutines while Run runs. A Metrics may be
// used from any goroutine. The only importer of prometheus/client_golang, whose types do not leave
// the package.
package admin
