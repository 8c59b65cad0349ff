package home

import "fmt"

// LevelOf is the feature level from which on an operation of a kind may stand in
// the log. A home that is older could not apply it, and would stop.
func LevelOf(k Kind) uint32 {
	switch {
	case k >= KindAdopt:
		return 3
	case k >= KindPromote:
		return 2
	}
	return 1
}

// Level is the home's feature level; 0 before the home exists. It takes no lock.
func (s *State) Level() uint32 { return s.level.Load() }

// raise fails above MaxLevel: what the log holds from there on may mean what this
// build cannot know.
func (s *State) raise(op *Raise) (Outcome, error) {
	if op.Level > MaxLevel {
		return Outcome{}, tooHigh(op.Level)
	}
	if op.Level <= s.level.Load() {
		return Outcome{Code: CodeVoid}, nil
	}
	s.level.Store(op.Level)
	s.markRestricted()
	return Outcome{}, nil
}

func tooHigh(level uint32) error {
	return fmt.Errorf("the home is at feature level %d, this build supports up to %d: run a newer version: %w", level, MaxLevel, ErrUnknown)
}
