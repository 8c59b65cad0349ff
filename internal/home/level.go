package home

// MaxLevel is the highest feature level that this build supports. A new home
// begins at level 1.
const MaxLevel = 1

// LevelOf is the feature level from which on an operation of a kind may stand in
// the log. A home that is older could not apply it, and would stop.
func LevelOf(Kind) uint32 { return 1 }

// Level is the home's feature level; 0 before the home exists.
func (s *State) Level() uint32 { return s.level.Load() }

func (s *State) raise(op *Raise) Outcome {
	if op.Level <= s.level.Load() {
		return Outcome{Code: CodeVoid}
	}
	s.level.Store(op.Level)
	return Outcome{}
}
