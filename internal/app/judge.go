package app

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"causeway/internal/admin"
	"causeway/internal/home"
)

// A file of region objects is judged by everybody who is to have it in force before it is entered: each node has
// addresses and links of its own, and may run another version. Nobody waits for who does not answer; that is said.

// judgeWithin bounds how long others may take.
const judgeWithin = 3 * time.Second

// ask calls the API of another node of the region.
func (a *App) ask(ctx context.Context, node, method, path string, params url.Values, body, into any) error {
	r, err := admin.NewRemote(admin.Address{Node: node, Dial: func(ctx context.Context) (net.Conn, error) { return peers{a}.Dial(ctx, node) }})
	if err != nil {
		return err
	}
	defer r.Close()
	b, err := r.Call(ctx, method, "", path, params, body)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}

// JudgeObjects implements admin.Objects.
func (n node) JudgeObjects(ctx context.Context, f admin.ObjectsFile) []admin.ObjectsJudgement {
	own := admin.ObjectsJudgement{By: "node " + n.a.cfg.Node, Answered: true}
	if _, err := n.judgeFile(f); err != nil {
		own.Answered, own.Problem = !errors.Is(err, admin.ErrUnavailable), err.Error()
	}
	list := []admin.ObjectsJudgement{own}
	if r := n.h.current(); r != nil && r.Leads() && r.Hosting() {
		for _, region := range r.State().Takeover().Standbys {
			list = append(list, n.askStandby(ctx, region, f))
		}
	}
	return list
}

// kindJudge is the call by which a host asks a standby what it thinks of a file.
const kindJudge byte = 10

type judgeRequest struct {
	Home home.ID           `json:"home"`
	File admin.ObjectsFile `json:"file"`
}

func (n node) askStandby(ctx context.Context, region string, f admin.ObjectsFile) admin.ObjectsJudgement {
	j := admin.ObjectsJudgement{By: "region " + region}
	q, err := json.Marshal(judgeRequest{n.h.id, f})
	var b []byte
	if err == nil {
		within, cancel := context.WithTimeout(ctx, judgeWithin)
		defer cancel()
		b, err = caller{n.a}.Call(within, region, kindJudge, q)
	}
	if err == nil {
		err = json.Unmarshal(b, &j)
	}
	if err != nil {
		j.Answered, j.Problem = false, err.Error()
	}
	j.By = "region " + region
	return j
}

// answerJudge says what this region thinks of a file for a home that it has a copy of. Links and addresses are of no
// concern here: it has to be understood.
func (a *App) answerJudge(region string, request []byte) ([]byte, error) {
	var q judgeRequest
	if err := json.Unmarshal(request, &q); err != nil {
		return nil, err
	}
	d, ok := a.documentsOf(q.Home)
	if !ok || d.h.own() || !slices.Contains(a.cfg.Hosts(string(q.Home)), region) {
		return nil, fmt.Errorf("region %s asks for home %s, of which there is no copy here that it may serve", region, q.Home)
	}
	j := admin.ObjectsJudgement{Answered: true}
	if _, err := d.h.objects.build(a.nodeConfig(), home.Document{Name: cmp.Or(q.File.Name, objectsDoc), Revision: 1, Body: body(q.File)}); err != nil {
		j.Problem = err.Error()
	}
	return json.Marshal(j)
}

// judgements are those of the other nodes, and of the standbys, which the node that leads asks.
func (n node) judgements(ctx context.Context, f admin.ObjectsFile) (list []admin.ObjectsJudgement) {
	ctx, cancel := context.WithTimeout(ctx, 2*judgeWithin)
	defer cancel()
	list = n.JudgeObjects(ctx, f)
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, m := range n.a.members() {
		if m.Node == n.a.cfg.Node {
			continue
		}
		all.Go(func() {
			said := admin.Page[admin.ObjectsJudgement]{Items: []admin.ObjectsJudgement{{By: "node " + m.Node, Problem: "it is not seen"}}}
			if m.Alive {
				if err := n.a.ask(ctx, m.Node, http.MethodPost, admin.Path("objects", "judge"), url.Values{"home": {string(n.h.id)}}, f, &said); err != nil {
					said.Items = []admin.ObjectsJudgement{{By: "node " + m.Node, Problem: err.Error()}}
				}
			}
			mu.Lock()
			defer mu.Unlock()
			list = append(list, said.Items...)
		})
	}
	all.Wait()
	slices.SortFunc(list, func(a, b admin.ObjectsJudgement) int { return cmp.Compare(a.By, b.By) })
	return list
}

// agreed says who did not judge a file, or refuses it for those who cannot have it in force.
func (n node) agreed(ctx context.Context, f admin.ObjectsFile) (unheard []string, err error) {
	no := &admin.Refused{}
	for _, j := range n.judgements(ctx, f) {
		switch {
		case j.Problem == "":
		case j.Answered:
			no.Reasons = append(no.Reasons, admin.Refusal{Condition: "judged", Reason: j.By + " cannot have it in force: " + j.Problem, Fix: "correct the file, or the node file there; nothing was changed"})
		default:
			unheard = append(unheard, j.By+" did not say whether it can have it in force: "+j.Problem)
		}
	}
	if len(no.Reasons) > 0 {
		return nil, no
	}
	return unheard, nil
}

// ConfigOf implements admin.Node.
func (n node) ConfigOf(id string) (admin.HomeConfig, error) {
	for _, h := range n.a.homes {
		if string(h.id) == id {
			return node{n.a, h}, nil
		}
	}
	return nil, fmt.Errorf("%w: there is no copy of home %s here", admin.ErrNotFound, id)
}
