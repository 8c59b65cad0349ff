package broker

import (
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

// MQTT over WebSocket (MQTT 5 section 6) behind a server of our own: a taken port is an error, a client without the
// sub-protocol and a foreign origin are refused.

const maxHTTPHeader = 16 << 10

func (l *listener) serveHTTP() {
	mux := http.NewServeMux()
	mux.HandleFunc(l.Path, l.upgrade)
	srv := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: l.ConnectTimeout,
		IdleTimeout:       l.ConnectTimeout,
		MaxHeaderBytes:    maxHTTPHeader,
		ConnState:         l.connState,
		ErrorLog:          slog.NewLogLogger(quietHandler{l.s.quiet, l.Name}, slog.LevelWarn),
		TLSNextProto:      map[string]func(*http.Server, *tls.Conn, http.Handler){}, // no HTTP/2: it has no upgrade
	}
	ln := net.Listener(l)
	if l.Proxy {
		ln = proxyListener{ln}
	}
	if l.Transport == WSS {
		cfg := l.TLS.Clone()
		cfg.NextProtos = []string{"http/1.1"}
		ln = tls.NewListener(ln, cfg)
	}
	_ = srv.Serve(ln)
	_ = srv.Close() // connections that were not upgraded
}

// connState takes connections that were not upgraded out of the count; the others leave it when MQTT ends.
func (l *listener) connState(nc net.Conn, st http.ConnState) {
	if st == http.StateClosed {
		result := ConnectGone
		if t, ok := nc.(*tls.Conn); ok && !t.ConnectionState().HandshakeComplete {
			result, _ = certificateResult(t.Handshake()) // it says again how it failed
		}
		l.stats.Connects[result].Add(1)
		l.closed()
	}
}

var upgradeBuffers sync.Pool

func (l *listener) upgrade(w http.ResponseWriter, r *http.Request) {
	if !slices.Contains(websocket.Subprotocols(r), "mqtt") { // [MQTT-6.0.0-3]
		http.Error(w, `the WebSocket sub-protocol must be "mqtt"`, http.StatusBadRequest)
		return
	}
	u := websocket.Upgrader{
		HandshakeTimeout: l.ConnectTimeout,
		ReadBufferSize:   1 << 10,
		WriteBufferSize:  4 << 10,
		WriteBufferPool:  &upgradeBuffers,
		Subprotocols:     []string{"mqtt"}, // [MQTT-6.0.0-4]
		CheckOrigin:      l.originAllowed,
	}
	ws, err := u.Upgrade(w, r, nil)
	if err != nil {
		return // Upgrade has answered
	}
	ws.SetReadLimit(int64(2 * l.s.opt.PacketMax))
	sock := ws.NetConn()
	if t, ok := sock.(*tls.Conn); ok {
		sock = t.NetConn()
	}
	_ = l.s.begin(l, &wsConn{ws: ws}, sock)
}

func (l *listener) originAllowed(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	return origin == "" || len(l.Origins) == 0 ||
		slices.ContainsFunc(l.Origins, func(o string) bool { return o == "*" || strings.EqualFold(o, origin) })
}

// wsConn is the stream of bytes in a connection's binary messages; packets need not fit them. [MQTT-6.0.0-2]
type wsConn struct {
	ws       *websocket.Conn
	rest     io.Reader    // of the message being read
	deadline atomic.Int64 // of writes, Unix nanoseconds; 0 none
}

var errTextMessage = errors.New("WebSocket message is not binary") // [MQTT-6.0.0-1]

func (w *wsConn) Read(b []byte) (int, error) {
	for {
		if w.rest == nil {
			kind, r, err := w.ws.NextReader()
			if err != nil {
				return 0, err
			}
			if kind != websocket.BinaryMessage {
				return 0, errTextMessage
			}
			w.rest = r
		}
		n, err := w.rest.Read(b)
		if err == io.EOF {
			w.rest, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func (w *wsConn) Write(b []byte) (int, error) {
	deadline := time.Time{}
	if at := w.deadline.Load(); at != 0 {
		deadline = time.Unix(0, at)
	}
	_ = w.ws.SetWriteDeadline(deadline)
	if err := w.ws.WriteMessage(websocket.BinaryMessage, b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// CloseWrite says goodbye as WebSocket does; the other side answers and closes.
func (w *wsConn) CloseWrite() error {
	bye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	return w.ws.WriteControl(websocket.CloseMessage, bye, time.Now().Add(lingerTime))
}

// SetWriteDeadline holds for the write that is stuck now and for those that follow, although the library sets its own.
func (w *wsConn) SetWriteDeadline(t time.Time) error {
	if t.IsZero() {
		w.deadline.Store(0)
	} else {
		w.deadline.Store(t.UnixNano())
	}
	return w.ws.NetConn().SetWriteDeadline(t)
}

func (w *wsConn) SetDeadline(t time.Time) error {
	return errors.Join(w.SetReadDeadline(t), w.SetWriteDeadline(t))
}

func (w *wsConn) Close() error                      { return w.ws.NetConn().Close() }
func (w *wsConn) LocalAddr() net.Addr               { return w.ws.NetConn().LocalAddr() }
func (w *wsConn) RemoteAddr() net.Addr              { return w.ws.NetConn().RemoteAddr() }
func (w *wsConn) SetReadDeadline(t time.Time) error { return w.ws.NetConn().SetReadDeadline(t) }
