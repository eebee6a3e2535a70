package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// openings are ways to write, in a file that somebody else includes, what a key of may
// withholds: rules of a function, or with "FILE " in front a whole file with %s for how the
// function is identified.
var openings = map[string][]string{
	"ports": {
		"{host: x.test, ports: [22]}", "{host: x.test, ports: [443, 22]}", "{host: x.test, ports: [22, 443]}", "{host: x.test, ports: [442]}", "{host: x.test, ports: [444]}",
		"{host: x.test, ports: [1-65535]}", "{host: x.test, ports: [1-443]}", "{host: x.test, ports: [443-444]}", "{host: x.test, ports: [442-443]}", "{host: x.test, ports: [443-65535]}",
		"{host: x.test, ports: [8000-8010]}", "{host: x.test, ports: ['8000-8010']}", `{host: x.test, ports: ["443-8443"]}`, "{host: x.test, ports: [65535]}", "{host: x.test, ports: [1]}",
		"{ports: [22], host: x.test}", "{ports: [22], set: main}", "{set: main, ports: [22]}", "{set: main, ports: [443, 22]}", "{set: odd}", "{set: odd, ports: [8444]}", "{set: odd, tls: verify}", "m.test, {set: odd}",
		"{host: x.test, ports: [22], expires: 2099-12-31}", "{host: x.test, ports: [22], expires: 2000-01-01}", "{host: x.test, ports: [22], ticket: SEC-1}", "{host: X.TEST., ports: [22]}", "{host: bücher.test, ports: [22]}",
		"x.test, {host: x.test, ports: [22]}", "{host: x.test, ports: [22]}, x.test", "{host: x.test, ports: &p [22]}, {host: y.test, ports: *p}", "&r {host: x.test, ports: [22]}", "&r {host: x.test, ports: [22]}, *r",
		"{host: x.test, ports: [443]}, {host: x.test, ports: [443]}, {host: x.test, ports: [22]}",
		"FILE sets: {s: {hosts: [s.test], ports: [22]}}\nfunctions: {a-1: {%s, allow: [{set: s}]}}\n", "FILE sets: {s: {hosts: [s.test], ports: [443, 22]}}\nfunctions: {a-1: {%s, allow: [{set: s}]}}\n",
		"FILE sets: {s: {hosts: [s.test], ports: [440-450]}}\nfunctions: {a-1: {%s, allow: [{set: s}]}}\n", "FILE sets: {s: {file: list.txt, ports: [22]}}\nfunctions: {a-1: {%s, allow: [{set: s}]}}\n",
		"FILE sets: {s: {ports: [22], hosts: [s.test]}}\nfunctions: {a-1: {%s, allow: [{set: s, tls: verify}]}}\n", "FILE functions: {a-1: {%s, allow: [{set: s}]}}\nsets: {s: {hosts: [s.test], ports: [22]}}\n",
		"FILE functions:\n  a-1:\n    %s\n    allow:\n      - host: x.test\n        ports:\n          - 22\n", "FILE functions:\n  a-1:\n    allow:\n      - {host: x.test, ports: [22]}\n    %s\n",
		"FILE {\"functions\": {\"a-1\": {%s, \"allow\": [{\"host\": \"x.test\", \"ports\": [22]}]}}}\n", "FILE functions: {a-1: {%s, allow: []}, a-2: {identify: {sources: [10.9.0.0/24]}, allow: [{host: x.test, ports: [22]}]}}\n",
	},
	"wildcards": {
		`"*.x.test"`, `'*.x.test'`, ".x.test", `".x.test"`, `{host: "*.x.test"}`, "{host: .x.test}", `"*.X.TEST."`, `"*.bücher.test"`, ".bücher.test", `".X.test."`, "*w , &w x", `&w "*.x.test"`, `x.test, "*.x.test"`, `"*.x.test", x.test`,
		`{host: "*.x.test", expires: 2000-01-01}`, `{host: "*.x.test", ports: [443]}`, `{ports: [443], host: "*.x.test"}`, `"*.a.b.c.d.e.x.test"`, `"*.xn--bcher-kva.test"`, `"\x2a.x.test"`, `"*\u002ex.test"`, `"\u002ex.test"`, `? .x.test`,
		"{set: wide}", "{set: wide, ports: [443]}", "{set: wide, expires: 2000-01-01}", "x.test, {set: wide}", "{set: rented}", "{host: |-\n\n *.x.test}",
		"FILE sets: {s: [\"*.s.test\"]}\nfunctions: {a-1: {%s, allow: [{set: s}]}}\n", "FILE sets: {s: [.s.test]}\nfunctions: {a-1: {%s, allow: [{set: s}]}}\n", "FILE sets: {s: [s.test, \"*.s.test\"]}\nfunctions: {a-1: {%s, allow: [{set: s}]}}\n",
		"FILE sets: {s: {hosts: [\"*.s.test\"]}}\nfunctions: {a-1: {%s, allow: [{set: s}]}}\n", "FILE sets: {s: {file: wild.txt}}\nfunctions: {a-1: {%s, allow: [{set: s}]}}\n", "FILE sets: {s: {file: dot.txt}}\nfunctions: {a-1: {%s, allow: [{set: s}]}}\n",
		"FILE sets: {s: {file: wild.txt, ports: [443]}}\nfunctions: {a-1: {%s, allow: [{set: s}]}}\n", "FILE sets: {s: [\"*.s.test\"]}\nfunctions: {a-1: {%s, allow: []}}\n", "FILE functions: {a-1: {%s, allow: [{set: s}]}}\nsets: {s: [\"*.s.test\"]}\n",
		"FILE sets: {s: &l [\"*.s.test\"], u: *l}\nfunctions: {a-1: {%s, allow: [{set: u}]}}\n", "FILE functions:\n  a-1:\n    %s\n    allow:\n      - '*.x.test'\n", "FILE functions:\n  a-1:\n    %s\n    allow:\n      - >-\n        *.x.test\n",
		"FILE functions:\n  a-1:\n    %s\n    allow:\n      - host: >-\n          .x.test\n", "FILE functions: {a-1: {%s, allow: &l [\"*.x.test\"]}, a-2: {identify: {sources: [10.9.0.0/24]}, allow: *l}}\n",
	},
	"shared_suffix": {
		`{host: "*.github.io", shared_suffix: true}`, `{shared_suffix: true, host: "*.github.io"}`, "{host: .github.io, shared_suffix: true}", `{host: "*.s3.amazonaws.com", shared_suffix: true}`, `{host: "*.amazonaws.com", shared_suffix: true}`,
		"{set: rented, shared_suffix: true}", "{shared_suffix: true, set: rented}", "{set: rented, shared_suffix: true, ports: [443]}", "{set: main, shared_suffix: true}", "{host: x.test, shared_suffix: true}", "{host: x.github.io, shared_suffix: true}",
		`{host: "*.cloudfront.net", shared_suffix: true, expires: 2000-01-01}`, `{host: "*.GITHUB.io.", shared_suffix: true}`, `{host: "*.lambda-url.eu-west-1.on.aws", shared_suffix: true}`, `{host: "*.blob.core.windows.net", shared_suffix: true}`,
		`x.test, {host: "*.github.io", shared_suffix: true}`, `&r {host: "*.github.io", shared_suffix: true}, *r`, `{host: "*.github.io", shared_suffix: &t true}`,
		"FILE sets: {s: [\"*.github.io\"]}\nfunctions: {a-1: {%s, allow: [{set: s, shared_suffix: true}]}}\n", "FILE sets: {s: [.github.io]}\nfunctions: {a-1: {%s, allow: [{set: s, shared_suffix: true}]}}\n",
		"FILE sets: {s: {file: rented.txt}}\nfunctions: {a-1: {%s, allow: [{set: s, shared_suffix: true}]}}\n", "FILE sets: {s: [s.test]}\nfunctions: {a-1: {%s, allow: [{set: s, shared_suffix: true}]}}\n",
		"FILE functions:\n  a-1:\n    %s\n    allow:\n      - host: '*.github.io'\n        shared_suffix: true\n",
	},
	"addresses": {
		"{host: x.test, addresses: [10.0.0.0/8]}", "{addresses: [10.0.0.0/8], host: x.test}", "{host: x.test, addresses: [127.0.0.0/8]}", `{host: x.test, addresses: ["::1/128"]}`, "{host: x.test, addresses: [192.168.1.7/32]}", "{host: x.test, addresses: []}",
		"{host: localhost, addresses: [127.0.0.0/8]}", "{host: x.test, addresses: [10.0.0.0/8, 172.16.0.0/12]}", "{host: x.test, addresses: [0.0.0.0/1]}", "{host: x.test, addresses: [8.8.8.8/32]}", `{host: x.test, addresses: ["fc00::/7"]}`,
		"{host: x.test, addresses: [10.0.0.0/8], expires: 2000-01-01}", "x.test, {host: x.test, addresses: [10.0.0.0/8]}", "&r {host: x.test, addresses: [10.0.0.0/8]}, *r", "{host: x.test, addresses: &a [10.0.0.0/8]}, {host: y.test, addresses: *a}",
		`{host: "*.x.test", addresses: [10.0.0.0/8]}`, "{host: .x.test, addresses: [10.0.0.0/8]}", "{host: x.test, addresses: ['100.64.0.0/10']}", "{host: x.test, ports: [443], addresses: [10.0.0.0/8]}",
		"FILE functions:\n  a-1:\n    %s\n    allow:\n      - host: x.test\n        addresses:\n          - 10.0.0.0/8\n",
	},
	"cidr": {
		"{cidr: 203.0.113.0/24}", "{cidr: 0.0.0.0/1}", `{cidr: "2000::/3"}`, "{cidr: 8.8.8.8/32}", "{cidr: 10.0.0.0/8}", "{cidr: 127.0.0.0/8}", `{cidr: "::1/128"}`, "{cidr: 203.0.113.0/24, ports: [443]}", "{cidr: 203.0.113.0/24, tls: verify}",
		"{ports: [443], cidr: 203.0.113.0/24}", "{cidr: 203.0.113.0/24, expires: 2000-01-01}", "{cidr: 203.0.113.0/24, ticket: T}", "x.test, {cidr: 203.0.113.0/24}", "{cidr: 203.0.113.0/24}, x.test", "&r {cidr: 203.0.113.0/24}, *r",
		`{"cidr": "203.0.113.0/24"}`, "{cidr: '1.1.1.1/32'}", `{cidr: "2606:4700:4700::1111/128"}`, "{cidr: 192.168.0.0/16}", "FILE functions:\n  a-1:\n    %s\n    allow:\n      - cidr: 203.0.113.0/24\n",
		"FILE functions: {a-1: {%s, allow: [x.test]}, a-2: {identify: {sources: [10.9.0.0/24]}, allow: [{cidr: 203.0.113.0/24}]}}\n",
	},
	"tls_any": {
		"{host: x.test, tls: any}", "{tls: any, host: x.test}", `{host: x.test, tls: "any"}`, "{host: x.test, tls: 'any'}", "{host: x.test, tls: any, ports: [443]}", "{set: main, tls: any}", "{tls: any, set: main}", "{cidr: 203.0.113.0/24, tls: any}", `{host: "*.x.test", tls: any}`,
		"{host: x.test, tls: any, expires: 2000-01-01}", "{host: x.test, tls: any, ticket: T}", "x.test, {host: x.test, tls: any}", "&r {host: x.test, tls: any}, *r", "{host: x.test, tls: &t any}, {host: y.test, tls: *t}", "{host: x.test, tls: any, addresses: [10.0.0.0/8]}",
		"{set: odd, tls: any}", "{host: x.test, tls: \"\\x61ny\"}", "FILE sets: {s: [s.test]}\nfunctions: {a-1: {%s, allow: [{set: s, tls: any}]}}\n", "FILE functions:\n  a-1:\n    %s\n    allow:\n      - host: x.test\n        tls: any\n",
		"FILE functions:\n  a-1:\n    %s\n    allow:\n      - host: x.test\n        tls: >-\n          any\n",
	},
	"report": {
		"FILE functions: {a-1: {%s, mode: report, report_until: 2099-12-31, allow: []}}\n", "FILE functions: {a-1: {%s, report_until: 2099-12-31, mode: report, allow: []}}\n", "FILE functions: {a-1: {mode: report, report_until: 2099-12-31, allow: [], %s}}\n",
		"FILE functions: {a-1: {%s, mode: \"report\", report_until: 2099-12-31, allow: [x.test]}}\n", "FILE functions: {a-1: {%s, mode: report, report_until: 2000-01-01, allow: []}}\n", "FILE functions: {a-1: {%s, mode: report, report_until: '2099-12-31', allow: []}}\n",
		"FILE functions: {a-1: {%s, mode: &m report, report_until: 2099-12-31, allow: []}}\n", "FILE functions: {a-1: {%s, mode: \"\\x72eport\", report_until: 2099-12-31, allow: []}}\n", "FILE functions:\n  a-1:\n    mode: report\n    report_until: 2099-12-31\n    %s\n    allow: []\n",
		"FILE functions: {a-1: {%s, allow: []}, a-2: {identify: {sources: [10.9.0.0/24]}, mode: report, report_until: 2099-12-31, allow: []}}\n", "FILE functions:\n  a-1:\n    mode: >-\n      report\n    report_until: 2099-12-31\n    %s\n    allow: []\n",
	},
	"plain_http": {
		"{host: x.test, ports: [80]}", "{host: x.test, ports: [443, 80]}", "{host: x.test, ports: [80, 443]}", "{host: x.test, ports: [79-81]}", "{host: x.test, ports: [1-80]}", "{host: x.test, ports: [80-443]}", "{host: x.test, ports: [80-80]}", "{ports: [80], host: x.test}",
		"{host: x.test, ports: [80], tls: verify}", "{host: x.test, ports: [80], tls: any}", "{set: main, ports: [80]}", "{set: plain}", "{set: plain, tls: verify}", "{cidr: 203.0.113.0/24, ports: [80]}", `{host: "*.x.test", ports: [80]}`, "{host: x.test, ports: ['1-65535']}",
		"{host: x.test, ports: [80], expires: 2000-01-01}", "x.test, {host: x.test, ports: [80]}", "&r {host: x.test, ports: [80]}, *r", "FILE sets: {s: {hosts: [s.test], ports: [80]}}\nfunctions: {a-1: {%s, allow: [{set: s}]}}\n",
		"FILE sets: {s: {file: list.txt, ports: [70-90]}}\nfunctions: {a-1: {%s, allow: [{set: s}]}}\n", "FILE functions:\n  a-1:\n    %s\n    allow:\n      - host: x.test\n        ports:\n          - 80\n",
	},
}

// mayBut is all of may without one thing.
func mayBut(key string) string {
	if key == "ports" {
		return strings.Replace(everyMay, "ports: [1-65535]", "ports: [443]", 1)
	}
	return strings.Replace(everyMay, key+": true", key+": false", 1)
}

// A team's file opens nothing that may withholds, however it is written. What is refused is
// good where may allows it, so it is may that refuses it; the odd ones that are good nowhere
// are no attempts.
func TestATeamsFileOpensNothingThatMayWithholds(t *testing.T) {
	attempts := 0
	for _, key := range slices.Sorted(maps.Keys(openings)) {
		for _, opening := range openings[key] {
			text, whole := strings.CutPrefix(opening, "FILE ")
			if whole {
				text = fmt.Sprintf(text, fmt.Sprintf(ident, 1))
			} else {
				text = "functions: {" + function("a-1", 1, opening) + "}\n"
			}
			f := files{
				"t/a.yaml": text, "t/list.txt": "l.test\n", "t/wild.txt": "*.l.test\n", "t/dot.txt": ".l.test\n", "t/rented.txt": "*.github.io\n",
			}
			f["egress.yaml"] = including("may: " + everyMay)
			if _, err := f.parse(); err != nil {
				continue
			}
			attempts++
			for _, may := range []string{"may: " + mayBut(key), "may: {}", "owner: a"} { // the last two withhold everything
				f["egress.yaml"] = including(may)
				cfg, err := f.parse()
				problems := (*Error)(nil)
				if cfg != nil || !errors.As(err, &problems) {
					t.Errorf("%s: %s loads under %s", key, opening, may)
					continue
				}
				said := slices.ContainsFunc(problems.Problems, func(p Problem) bool {
					return p.File != "egress.yaml" && strings.HasPrefix(p.Text, "may."+key+" of egress.yaml:4 withholds it; ")
				})
				if !said {
					t.Errorf("%s: %s is refused under %s, but not as withheld: %v", key, opening, may, err)
				}
			}
		}
	}
	if attempts < 200 {
		t.Errorf("%d attempts, under 200", attempts)
	}
}

// What may allows is allowed, and no more is needed for it than that key and a port.
func TestWhatMayAllowsLoads(t *testing.T) {
	for may, text := range map[string]string{
		"{ports: [443]}":                                       "functions: {" + function("a-1", 1, "x.test, {set: main}, {host: y.test, ports: [443], expires: 2099-12-31, ticket: T}") + "}\n",
		"{ports: [443, 400-442, 444-500]}":                     "functions: {" + function("a-1", 1, "{host: x.test, ports: [401-499]}") + "}\n",
		"{ports: [80], plain_http: true}":                      "functions: {" + function("a-1", 1, "{host: x.test, ports: [80]}, {set: plain}") + "}\n",
		"{ports: [443], wildcards: true}":                      "functions: {" + function("a-1", 1, "\"*.x.test\", .x.test, {set: wide}") + "}\n",
		"{ports: [443], cidr: true}":                           "functions: {" + function("a-1", 1, "{cidr: 203.0.113.0/24}") + "}\n",
		"{ports: [443], addresses: true}":                      "functions: {" + function("a-1", 1, "{host: x.test, addresses: [10.0.0.0/8]}") + "}\n",
		"{ports: [443], tls_any: true}":                        "functions: {" + function("a-1", 1, "{host: x.test, tls: any}") + "}\n",
		"{report: true}":                                       "functions: {a-1: {" + fmt.Sprintf(ident, 1) + ", mode: report, report_until: 2099-12-31, allow: []}}\n",
		"{ports: [443], wildcards: true, shared_suffix: true}": "functions: {" + function("a-1", 1, "{set: rented, shared_suffix: true}") + "}\n",
		"{}": "functions: {" + function("a-1", 1, "") + "}\n",
	} {
		if _, err := (files{"egress.yaml": including("may: " + may), "t/a.yaml": text}).parse(); err != nil {
			t.Errorf("%s: %v", may, err)
		}
	}
}
