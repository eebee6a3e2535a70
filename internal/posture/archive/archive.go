// Package archive keeps what each run has found, and says what is new since the last one.
//
// What it does: it puts the findings of a run into a store, one object each time, and
// beside them the names of those that are high and that nobody has accepted. The next run
// compares.
//
// What it does not do: it deletes nothing, and locks nothing: two runs at once may both
// call a finding new.
//
//	last, err := archive.Last(ctx, store)
//	fresh := last.New(findings)
//	err = archive.Save(ctx, store, made, lines)
//	err = archive.Remember(ctx, store, made, findings) // once somebody has been told
package archive

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/finding"
)

// Store holds objects by name.
type Store interface {
	// Get returns an object. Its error is fs.ErrNotExist where there is none of that name.
	Get(ctx context.Context, name string) ([]byte, error)
	// Write writes an object, whole or not at all.
	Write(ctx context.Context, name string, data []byte) error
}

// stateName is the object that says what the last run has found, stateFormat its form.
const (
	stateName   = "state.json"
	stateFormat = 1
)

// State is what a run has left for the next one. Nil: there was none before, and all that
// is found is new.
type State struct {
	Format int    `json:"format"`
	Made   string `json:"made"` // when the account was read, RFC 3339
	// High are the keys of the findings that were high and not accepted, sorted.
	High []string `json:"high"`
}

// Last returns what the last run has left. A state that cannot be read is an error: to
// take it for none would call everything new, to take it for empty nothing.
func Last(ctx context.Context, s Store) (*State, error) {
	data, err := s.Get(ctx, stateName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading what the last run has found: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var state State
	if err := dec.Decode(&state); err != nil {
		return nil, fmt.Errorf("reading what the last run has found: %s: %w", stateName, err)
	}
	if state.Format != stateFormat {
		return nil, fmt.Errorf("reading what the last run has found: %s has format %d, this program reads %d", stateName, state.Format, stateFormat)
	}
	return &state, nil
}

// high returns the keys of what is high and not accepted, sorted, each once.
func high(found []finding.Finding) []string {
	keys := []string{}
	for i := range found {
		if found[i].Severity == finding.High && found[i].Accepted == "" {
			keys = append(keys, found[i].Key())
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// New returns the keys of the findings that are high now and were not at the last run, or
// were accepted then.
func (s *State) New(found []finding.Finding) (fresh []string) {
	for _, key := range high(found) {
		if s == nil || !slices.Contains(s.High, key) {
			fresh = append(fresh, key)
		}
	}
	return fresh
}

// Save puts the findings of a run into the store, under the time of the run.
func Save(ctx context.Context, s Store, made string, lines []byte) error {
	return s.Write(ctx, strings.ReplaceAll(made, ":", "-")+".ocsf.jsonl", lines)
}

// Remember leaves for the next run what this one has found.
func Remember(ctx context.Context, s Store, made string, found []finding.Finding) error {
	data, err := json.MarshalIndent(&State{Format: stateFormat, Made: made, High: high(found)}, "", " ")
	if err != nil {
		return fmt.Errorf("encoding what was found: %w", err)
	}
	return s.Write(ctx, stateName, append(data, '\n'))
}

// Folder is a store in a folder, which has to be there. What is in it is readable for its
// owner alone.
type Folder string

// Get reads a file.
func (f Folder) Get(_ context.Context, name string) ([]byte, error) {
	return os.ReadFile(filepath.Join(string(f), name))
}

// Write writes a file beside its place, and moves it there.
func (f Folder) Write(_ context.Context, name string, data []byte) error {
	to := filepath.Join(string(f), name)
	if err := os.WriteFile(to+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(to+".new", to)
}
