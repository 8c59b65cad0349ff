package config

import (
	"errors"
	"fmt"
	"strings"
)

// Kind is the layer a value came from. Later kinds win over earlier ones.
type Kind int

// The layers.
const (
	FromDefault Kind = iota
	FromFile
	FromEnv
	FromFlag
)

// Source is where one value came from.
type Source struct {
	Kind Kind
	Name string // the file, the variable, or the flag
	Line int    // in the file
}

// String names the place as an operator would look for it.
func (s Source) String() string {
	switch s.Kind {
	case FromFile:
		return fmt.Sprintf("%s:%d", s.Name, s.Line)
	case FromEnv:
		return "env " + s.Name
	case FromFlag:
		return "flag --" + s.Name
	default:
		return "default"
	}
}

// Sources says of every key where its value came from. It is fixed once Load returned it.
type Sources struct {
	byKey map[string]Source
}

// Of is the source of a key such as limits.packet or listeners[0].listen. A key that was not set
// anywhere has its default.
func (s *Sources) Of(key string) Source {
	if s == nil {
		return Source{}
	}
	return s.byKey[key]
}

// Explain adds to the problems in err (those of Validate) where the value at fault came from, and
// returns the same problems.
func (s *Sources) Explain(err error) error {
	for _, p := range problemsIn(err) {
		if p.Source == (Source{}) {
			p.Source = s.nearestSet(p.Key)
		}
	}
	return err
}

// nearestSet is the source of the key, or of what holds it when the key itself was left out.
func (s *Sources) nearestSet(key string) Source {
	for key != "" {
		if src, ok := s.byKey[key]; ok {
			return src
		}
		key = key[:max(strings.LastIndexAny(key, ".["), 0)]
	}
	return Source{}
}

func (s *Sources) isSet(key string) bool {
	_, ok := s.byKey[key]
	return ok
}

// set records a key and forgets what lower layers said about the items of a list it replaces.
func (s *Sources) set(key string, src Source) {
	for k := range s.byKey {
		if strings.HasPrefix(k, key+"[") {
			delete(s.byKey, k)
		}
	}
	s.byKey[key] = src
}

// Problem is one thing wrong with the configuration.
type Problem struct {
	// Key is the key at fault, "" if it is the file as a whole.
	Key string
	// Source is where the value came from; the zero value when that is not known or the default.
	Source Source
	// What is wrong, with the value.
	What string
	// Fix is what to do about it.
	Fix string
}

// Error is PLACE: KEY: WHAT; FIX.
func (p *Problem) Error() string {
	var b strings.Builder
	if p.Source.Kind != FromDefault {
		b.WriteString(p.Source.String() + ": ")
	}
	if p.Key != "" {
		b.WriteString(p.Key + ": ")
	}
	b.WriteString(p.What)
	if p.Fix != "" {
		b.WriteString("; " + p.Fix)
	}
	return b.String()
}

// problemsIn lists the problems of a joined error.
func problemsIn(err error) []*Problem {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []*Problem
		for _, e := range joined.Unwrap() {
			all = append(all, problemsIn(e)...)
		}
		return all
	}
	var p *Problem
	if errors.As(err, &p) {
		return []*Problem{p}
	}
	return nil
}

// joinProblems makes one error of all; nil if there are none.
func joinProblems(problems []*Problem) error {
	errs := make([]error, len(problems))
	for i, p := range problems {
		errs[i] = p
	}
	return errors.Join(errs...)
}
