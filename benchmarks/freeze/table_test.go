package main

import (
	"errors"
	"testing"
)

// The verdict of a row is that of the extension: at most what the proxy loses, and at most
// a point more than is lost without one.
func TestRowSaysWhetherTheExtensionLosesTooMuch(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		cells []*cell
		want  string
	}{
		{[]*cell{{way: without}, {way: direct}, {way: extended}}, " | 0.0 | 0.0 | 0.0 | 0, 0 | met"},
		{[]*cell{{way: without}, {way: direct, lost: 4}, {way: extended, lost: 4, clientFirst: true}}, " | 0.0 | 1.0 | 1.0 | 4, 0 | met"},
		{[]*cell{{way: without}, {way: direct, lost: 8}, {way: extended, lost: 5}}, " | 0.0 | 2.0 | 1.2 | 0, 5 | missed"},
		{[]*cell{{way: without, lost: 9}, {way: direct, lost: 1}, {way: extended, lost: 2, clientFirst: true}}, " | 2.2 | 0.2 | 0.5 | 2, 0 | missed"},
		{[]*cell{{way: without}, {way: direct, err: errors.New("no answer")}, {way: extended}}, " | failed: no answer | | | | "},
	} {
		var r row
		for _, c := range tt.cells {
			r.add(c)
		}
		if got := r.text(400); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}
