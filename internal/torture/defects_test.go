//go:build torture

package torture

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
)

// defect is a bug that is put in on purpose, and what the checker has to say.
type defect struct {
	file  string // in the folder defects
	finds string // what a violation has to match
	settings
}

// inFile is the setting that records go to a file.
func inFile(yes bool) *bool { return &yes }

// defects are all of them, each with the load and the faults that meet it.
var defects = []defect{
	{"record_after_the_answer", "recorded after it was seen|no record shows it", settings{
		file:   inFile(true),
		faults: []string{"kill", "reload"},
	}},
	{"no_address_check_after_a_reload", "canary .* was contacted", settings{
		recipes: map[string]int{"address that is not open": 10, "answer that flips": 10, "tunnel": 5, "target that reloads change": 5},
		faults:  []string{"reload", "reload storm", "dns rebinds"},
	}},
	{"descriptor_forgotten", "the program holds [0-9]+ descriptors", settings{
		recipes: map[string]int{"origin that is not there": 10, "origin with a dead address": 5, "tunnel": 10},
		faults:  []string{"reload"},
	}},
	{"chain_lost_on_rotation", "is not chained to the one before it", settings{
		file:   inFile(true),
		faults: []string{"rotate"},
	}},
	{"tunnels_outlive_a_reload", "the tunnel outlived the reload", settings{
		recipes: map[string]int{"long tunnel that reloads may end": 10, "tunnel": 5},
		faults:  []string{"reload"},
	}},
	{"tunnel_counted_twice", "the program holds [0-9]+ tunnels by the gauge", settings{
		recipes: map[string]int{"tunnel": 10, "tunnel without TLS": 5, "idle tunnel": 1},
		faults:  []string{"reload"},
	}},
	{"tokens_outlive_their_key", "let through, but .*key [0-9]", settings{
		recipes: map[string]int{"token of AWS, its key may be gone": 10, "tunnel by a token of AWS": 5, "tunnel": 5},
		faults:  []string{"keys of AWS rotate", "reload"},
	}},
	{"keys_of_the_first_load", "refused: .*\\(tunnel by a token of AWS\\)", settings{
		recipes: map[string]int{"tunnel by a token of AWS": 10, "forged token of AWS": 5, "tunnel": 5},
		faults:  []string{"keys of AWS rotate"},
	}},
	{"fetched_keys_never_end", "let through, but .*keys_unavailable.*key [0-9]", settings{
		recipes: map[string]int{"tunnel by fetched keys": 10, "token by fetched keys, its key may be gone": 5, "tunnel": 5},
		faults:  []string{"issuer is down for long"},
	}},
	{"keys_of_the_first_fetch", "let through, but .*identity_rejected.*key [0-9]", settings{
		recipes: map[string]int{"tunnel by fetched keys": 5, "token by fetched keys, its key may be gone": 10, "tunnel": 5},
		faults:  []string{rotation},
	}},
	{"keys_of_any_issuer", "let through, but .*\\(token of AWS that another issuer has signed\\)", settings{
		recipes: map[string]int{"tunnel by fetched keys": 5, "token of AWS that another issuer has signed": 10, "tunnel": 5},
		faults:  []string{"issuer is down for long", "reload"},
	}},
	{"keys_asked_for_without_pause", "the issuer was asked for its keys [0-9]+ times", settings{
		recipes: map[string]int{"tunnel by fetched keys": 5, "token by fetched keys, its key may be gone": 10, "tunnel": 5},
		faults:  []string{"reload"},
	}},
	{"redirects_of_an_issuer_are_followed", "let through, but .*\\(forged token, by fetched keys\\)|refused: .*\\(tunnel by fetched keys\\)", settings{
		recipes: map[string]int{"tunnel by fetched keys": 10, "token by fetched keys, its key may be gone": 5, "forged token, by fetched keys": 10},
		faults:  []string{"issuer redirects"},
	}},
	{"certificates_of_issuers_are_not_verified", "let through, but .*\\(forged token, by fetched keys\\)", settings{
		recipes: map[string]int{"tunnel by fetched keys": 10, "token by fetched keys, its key may be gone": 5, "forged token, by fetched keys": 10},
		faults:  []string{wrongCertificate},
	}},
	{"sources_share_nothing", "refused for another's doing", settings{
		recipes: map[string]int{"slow head": 10, "tunnel": 10, "no token": 5},
		faults:  []string{"crowding: silent connections"},
	}},
	{"lookups_of_one_function", "refused for another's doing", settings{
		recipes: map[string]int{"tunnel": 10, "tunnel of another function": 5, "lookup": 5},
		faults:  []string{"crowding: tunnels to names that DNS does not answer"},
	}},
	{"tunnels_of_one_function", "refused for another's doing", settings{
		recipes: map[string]int{"tunnel": 10, "tunnel of another function": 5, "idle tunnel": 5},
		faults:  []string{"crowding: plain requests to a mute host"},
	}},
}

// substitutions are the files that a defect changes, with what they become, and those with
// the short times of the run.
func (d defect) substitutions() (substitutions, error) {
	archive, err := txtar.ParseFile(filepath.Join("defects", d.file+".txtar"))
	if err != nil {
		return nil, err
	}
	all := substitutions{}
	for i := 0; i+2 < len(archive.Files); i += 3 {
		name := strings.TrimSpace(string(archive.Files[i].Data))
		if err := all.change(name, string(archive.Files[i+1].Data), string(archive.Files[i+2].Data)); err != nil {
			return nil, fmt.Errorf("%s: %w", d.file, err)
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s changes nothing", d.file)
	}
	return all, all.shorten()
}

func TestEveryDefectStillFitsTheSource(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("defects", "*.txtar"))
	if err != nil || len(files) != len(defects) {
		t.Errorf("%d files in defects, %d defects: %v", len(files), len(defects), err)
	}
	for _, d := range defects {
		if _, err := d.substitutions(); err != nil {
			t.Error(err)
		}
	}
}

// defectTime is how long faults strike a program with a defect.
const defectTime = 12 * time.Second

func TestDefects(t *testing.T) {
	for _, d := range defects {
		t.Run(d.file, func(t *testing.T) {
			dir := t.TempDir()
			all, err := d.substitutions()
			if err != nil {
				t.Fatal(err)
			}
			overlay, err := all.write(dir)
			if err != nil {
				t.Fatal(err)
			}
			o := d.settings
			o.seed, o.rate, o.round, o.binary = max(1, *seed), *rate, defectTime, filepath.Join(dir, "proxy")
			if err := build(t.Context(), o.binary, overlay, false); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			w, err := newWorld(t, o)
			if err != nil {
				t.Fatal(err)
			}
			defer w.close()
			one, err := w.play(t.Context(), 1, filepath.Join(dir, "round"))
			if err != nil {
				t.Fatal(err)
			}
			d.judge(t, one, time.Since(began))
		})
	}
}

// judge wants a violation of the defect's kind, and shows the first.
func (d defect) judge(t *testing.T, one *tally, took time.Duration) {
	t.Helper()
	kind := regexp.MustCompile(d.finds)
	for _, v := range one.violations {
		if kind.MatchString(v) {
			t.Logf("found in %s among %d operations, %d violations: %.600s", took.Round(time.Second), one.all(), one.broken, v)
			return
		}
	}
	t.Errorf("not found in %s among %d operations; %d violations: %s", took, one.all(), one.broken, strings.Join(one.violations, "\n"))
}
