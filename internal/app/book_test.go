package app

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"causeway/internal/config"
	"causeway/internal/home"
	"causeway/internal/store"
	"causeway/internal/takeover/agent"
)

// What a region promised is there after a restart, the newest word of each home.
func TestBook_KeepsOverARestart(t *testing.T) {
	fs := store.NewCrashFS()
	kept := agent.Kept{Promised: home.Epoch{Number: 7, Host: "us"}, InForce: home.Epoch{Number: 6, Host: "eu"}, Held: true,
		Short: agent.Short{Epoch: home.Epoch{Number: 6, Host: "eu"}, Record: 9, On: true}}
	withBook(t, fs, func(ctx context.Context, b *book) {
		if all, err := b.Load(ctx); err != nil || len(all) > 0 {
			t.Errorf("a new book has %v, %v", all, err)
		}
		for _, n := range []uint64{5, 7} {
			k := kept
			k.Promised.Number = n
			if err := b.Keep(ctx, "eu", k); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Keep(ctx, "ap", agent.Kept{}); err != nil {
			t.Fatal(err)
		}
	})
	withBook(t, fs, func(ctx context.Context, b *book) {
		if all, err := b.Load(ctx); err != nil || len(all) != 2 || all["eu"] != kept {
			t.Errorf("the book has %v, %v", all, err)
		}
		if err := b.Sure(ctx); err != nil {
			t.Error(err)
		}
	})
}

// withBook runs a node's book while f runs.
func withBook(t *testing.T, fs store.FS, f func(context.Context, *book)) {
	t.Helper()
	a := &App{cfg: &config.Config{Region: "us", Node: "us-1", DataDir: "/data", Role: config.RoleCore}, log: slog.New(slog.DiscardHandler), opts: Options{FS: fs}}
	a.dir = &dataDir{a: a}
	b := &book{a: a, turn: newTurn()}
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- b.run(ctx) }()
	within, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for !b.leads() {
		if !wait(within, officeEvery) {
			t.Fatal("nobody leads the book")
		}
	}
	f(within, b)
	stop()
	if err := <-ran; err != nil && ctx.Err() == nil {
		t.Error(err)
	}
}
