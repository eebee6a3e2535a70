package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
)

// options are the flags.
type options struct {
	floor   string
	rounds  int
	scale   float64
	only    string
	peers   string
	out     string
	against string
	limit   float64
	quick   bool
	given   map[string]bool // the flags that are there
}

// usageError is a wrong call, in one line.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text + "; -h lists the flags" }

// maxRounds bounds the time, with maxScale.
const (
	maxRounds = 100
	maxScale  = 10
)

// flags declares the flags.
func flags(o *options) *flag.FlagSet {
	fs := flag.NewFlagSet("compare", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&o.floor, "floor", "", "be the io.Copy floor on this `ADDRESS`; the program starts itself so")
	fs.IntVar(&o.rounds, "rounds", 5, "interleaved rounds")
	fs.Float64Var(&o.scale, "scale", 1, "how large a load is, beside the usual")
	fs.StringVar(&o.only, "only", "", "measure only figures with this `TEXT` in their name")
	fs.StringVar(&o.peers, "peers", "", "compare only with what has this in its name")
	fs.StringVar(&o.out, "out", "benchmarks/results", "`FOLDER` for the results; with -against they are written only where it is given")
	fs.StringVar(&o.against, "against", "", "compare the working tree with this git `REVISION`, and with no peers")
	fs.Float64Var(&o.limit, "limit", 1.03, "with -against: exit with 3 when the interval of a ratio lies wholly above it")
	fs.BoolVar(&o.quick, "quick", false, "with -against: at most two minutes, by smaller loads, no reload, and fewer rounds where they do not fit")
	return fs
}

// usage is the help.
func usage() string {
	var b strings.Builder
	b.WriteString("Usage: go run ./benchmarks/compare [flags]\n\nMeasures the proxy beside its peers, or with -against beside a revision of itself.\n\n")
	fs := flags(&options{})
	fs.SetOutput(&b)
	fs.PrintDefaults()
	return b.String()
}

// parse reads the arguments. Whatever is wrong with them is a *usageError, but
// flag.ErrHelp where help is asked for.
func parse(args []string) (options, error) {
	o := options{given: map[string]bool{}}
	fs := flags(&o)
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, err
		}
		return o, &usageError{err.Error()}
	}
	fs.Visit(func(f *flag.Flag) { o.given[f.Name] = true })
	if fs.NArg() > 0 {
		return o, &usageError{fmt.Sprintf("unknown argument %q", fs.Arg(0))}
	}
	return o, o.check()
}

// check returns the first thing that is wrong with the flags.
func (o options) check() error {
	least := 1
	if o.given["against"] {
		least = 2
	}
	for _, c := range []struct {
		wrong bool
		text  string
	}{
		{o.given["against"] && o.against == "", "-against: no revision"},
		{o.rounds < least || o.rounds > maxRounds, fmt.Sprintf("-rounds %d: it is %d to %d", o.rounds, least, maxRounds)},
		{!(o.scale > 0 && o.scale <= maxScale), fmt.Sprintf("-scale %g: it is above 0 and at most %d", o.scale, maxScale)},
		{!(o.limit > 0), fmt.Sprintf("-limit %g: it is above 0", o.limit)},
		{o.given["limit"] && !o.given["against"], "-limit is for -against"},
		{o.given["quick"] && !o.given["against"], "-quick is for -against"},
		{o.given["peers"] && o.given["against"], "-peers is not for -against, which starts none"},
	} {
		if c.wrong {
			return &usageError{c.text}
		}
	}
	return nil
}
