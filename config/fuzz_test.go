package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
)

// FuzzParse: no input panics, whatever loads compiles, and every error is
// lines of the one form, of the files that there are.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/bad/*", "testdata/good/*.*", "testdata/good/teams/*", "quickstart.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, path := range files {
			data, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data, []byte("partner.example\n*.github.io # x\n"))
		}
	}
	certificate, key := egresstest.PEM(f, egresstest.SelfSigned(f, "proxy"))
	keys, err := os.ReadFile("testdata/good/jwks.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data, list []byte) {
		cfg, err := Parse("egress.yaml", data, func(path string) ([]byte, error) {
			switch path {
			case "tls.crt", "clients.pem":
				return certificate, nil
			case "tls.key":
				return key, nil
			case "jwks.json":
				return keys, nil
			case "partners.txt", "teams/payments.yaml":
				return list, nil
			}
			return nil, fs.ErrNotExist
		})
		if err == nil {
			if _, _, err := cfg.Compile(); err != nil {
				t.Fatalf("it loads but does not compile: %v", err)
			}
			return
		}
		var problems *Error
		if cfg != nil || !errors.As(err, &problems) || len(problems.Problems) == 0 {
			t.Fatalf("Parse = %v, %v", cfg, err)
		}
		for _, p := range problems.Problems {
			if line := p.String(); p.Line < 1 || p.Key == "" || p.Text == "" || strings.Contains(line, "\n") {
				t.Fatalf("%q is not one line of file:line: key: text", line)
			}
		}
	})
}

// BenchmarkParse measures a whole load of 100,000 patterns, inline (with the
// YAML parser) and from a file of a set (without). It leaves out reading from
// disk and compiling.
func BenchmarkParse(b *testing.B) {
	const count = 100_000
	var inline, list strings.Builder
	for i := range count {
		fmt.Fprintf(&inline, "      - host-%d.example.com\n", i)
		fmt.Fprintf(&list, "host-%d.example.com\n", i)
	}
	head := "version: 1\nfunctions:\n  a:\n    identify: {sources: [10.0.0.0/8]}\n    allow:\n"
	for name, data := range map[string]string{
		"from=inline": head + inline.String(),
		"from=set":    head + "      - set: s\nsets: {s: {file: list.txt}}\n",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, err := Parse("egress.yaml", []byte(data), func(string) ([]byte, error) { return []byte(list.String()), nil })
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
