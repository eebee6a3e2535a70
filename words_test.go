package repo

import (
	"go/ast"
	"go/token"
	"path"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

// privateWords are names that this code once used and the field does not: a reader
// needs a key for them. To each the word that the field has. No identifier is one of
// them, whatever its case.
var privateWords = map[string]string{
	// proxy, internal/admission, internal/egress
	"lanes": "slots, quota", "sit": "acquire", "trySit": "tryAcquire", "rise": "release",
	"waiting": "preAuth, expected", "unidentified": "preAuth", "leaveCrowd": "remove", "tellCrowd": "logEvictions",
	"putOut": "evict", "lastLook": "evictUnlessReady", "lost": "evicting", "room": "resourceLimits, buf, slots", "newRoom": "fitLimits",
	"take": "acquire", "giveBack": "release", "dialing": "dialLimiter", "underway": "inflightDial", "beside": "extraDials",
	"keep": "track, storeField", "reach": "dialAndOpen", "hand": "startTunnel", "handed": "startedTunnel", "holds": "stillAllowed",
	"setup": "connectOp", "leave": "handOff", "leaveUnread": "handOffUnread", "leaveOpened": "handOffOpened", "tooSlow": "timedOut",
	"tellBug": "reportPanic", "guard": "withRecover", "spread": "interleaveFamilies", "frugalReader": "memGuardReader",
	"closeAfterReply": "lingeringClose",
	// cmd/proxy, internal/daemon
	"put": "activate", "ask": "requestReload", "asks": "requestReload", "reloading": "reloadLoop", "tick": "housekeeping", "wait": "signalLoop",
	// internal/resolve, internal/audit, internal/policy, internal/identity
	"forgive": "maskIfCounting", "turn": "cond", "turns": "order", "mark": "lineMeta", "flight": "inflight", "flights": "inflight", "join": "aggregate",
	"merge": "aggregate, combine", "share": "aggregate, intern", "terms": "conditions", "via": "Method", "shown": "IsSet", "claim": "register",
	// dnsfilter, internal/dnsserver, internal/reactor, internal/tunnel
	"flyAhead": "refresh", "landed": "done", "launch": "start", "hurry": "drain", "arm": "setDeadline", "asked": "eligible", "pass": "allow",
	"silent": "drop", "settled": "decided", "waits": "pending", "wired": "fast", "crowded": "overloaded", "broken": "servfail, malformed",
	"forget": "unwatch, untrack", "drop": "detach, remove, abort", "rouse": "wake", "alarm": "wakeHandler", "atTurn": "AfterPoll",
	"cut": "abort", "note": "setCause", "notes": "setCause",
	// internal/evidence, internal/report, config, internal/policytool
	"fact": "lineFacts", "facts": "lineFacts", "run": "segment", "words": "internTable", "said": "claimed", "who": "callerKey", "use": "ruleUse",
	"alone": "single", "value": "node", "follow": "resolveAlias", "unharmed": "assertNoLeaks", "house": "sampleTable", "world": "env", "rig": "a server fixture",
}

// privateParts are such words that mean nothing else here: no identifier has one
// among its words (laneConn), with an s or without.
var privateParts = map[string]string{
	"lane": "worker, event loop", "door": "listener", "seat": "slot", "crowd": "preAuthLimiter", "tell": "log, warn", "account": "usage",
	"kept": "idle keep-alive, stored", "settle": "release, setDecision, commitBatch", "aim": "setTarget", "patience": "loopWait, writeDeadline",
	"meet": "readPreamble", "introduce": "applyProxyHeader", "hopeless": "cannotBeHTTP", "unheard": "recordSilentRefusal", "aside": "lowpriority.Run",
	"listening": "ownAddrs", "inForce": "Current", "banner": "warnReportMode", "torn": "partial", "mend": "completePartial", "foreign": "WriteRaw, untrusted",
	"party": "limitKey", "likeness": "aggregateKey", "trail": "trace", "outlasts": "expiresLater", "breadth": "WildcardScope", "neverOpen": "AlwaysBlocked",
	"fly": "do", "land": "finish", "hush": "stopReads", "half": "direction", "looped": "loopTunnel", "janitor": "sweeper", "boot": "process",
	"manner": "rowKind", "goal": "destination", "moment": "micros", "draft": "ruleBuilder", "claims": "positions", "oddity": "invalidRune",
}

// otherMeaning are words of privateWords that are the field's own in another
// meaning, with that meaning: "word" anywhere, "word folder" in one package.
var otherMeaning = map[string]string{
	"value": "what a key, a field of a head or a member of JSON has",
	"run":   "what Go calls a method that works until its context ends or its work is done",
	"wait":  "what Go calls a method that returns when others have ended (sync.WaitGroup)",
	"lost":  "the member of a record that counts events without one; the format keeps its name",
	"via":   "the member of a record that says how the caller was identified; the format keeps its name",

	"via internal/httphead":            "the field of RFC 9110",
	"account config/aws":               "what AWS calls one",
	"account internal/attestkeys":      "what AWS calls one",
	"account internal/daemon":          "what AWS calls one",
	"account internal/attest":          "what AWS calls one",
	"account internal/standin":         "what AWS calls one",
	"claims internal/attest":           "what RFC 7519 calls what a token says",
	"alarm internal/egresstest/alarms": "what CloudWatch calls one",
	"share internal/egresstest/alarms": "a part of a whole",
	"unidentified config/settings":     "limits.unidentified of the file, which keeps its name",
	"unidentified internal/exchange":   "limits.unidentified of the file, which keeps its name",
	"share internal/admission":         "how much of the whole one source may have",
	"spread benchmarks/internal/stats": "of samples: how far they lie apart",
	"fact internal/report/doc":         "a name and a value on top of a report",
	"facts internal/report":            "a name and a value on top of a report",
	"facts internal/report/doc":        "a name and a value on top of a report",
	"facts internal/evidence/record":   "what one line says",
	"note internal/report/doc":         "a sentence below a table",
	"notes internal/report/doc":        "sentences below a section",
}

func TestNamesAreTheWordsOfTheField(t *testing.T) {
	t.Parallel()
	whole, parts := folded(privateWords), folded(privateParts)
	needed := map[string]bool{}
	for _, s := range sources(t) {
		dir := path.Dir(s.name)
		for _, id := range declared(s.file) {
			name := strings.ToLower(id.Name)
			if field, private := whole[name]; private {
				if exception := name + " " + dir; otherMeaning[exception] != "" {
					needed[exception] = true
				} else if needed[name] = otherMeaning[name] != ""; !needed[name] {
					t.Errorf("%s:%d: %s; the field says %s", s.name, s.line(id.Pos()), id.Name, field)
				}
			}
			part := privatePart(id.Name, parts)
			if exception := part + " " + dir; otherMeaning[exception] != "" {
				needed[exception] = true
			} else if part != "" {
				t.Errorf("%s:%d: %s; for %q the field says %s", s.name, s.line(id.Pos()), id.Name, part, parts[part])
			}
		}
	}
	for exception := range otherMeaning {
		if !needed[exception] {
			t.Errorf("nothing is named %q; take it off otherMeaning", exception)
		}
	}
}

// folded returns a table with its words in lower case.
func folded(words map[string]string) map[string]string {
	lower := make(map[string]string, len(words))
	for word, field := range words {
		lower[strings.ToLower(word)] = field
	}
	return lower
}

// privatePart returns the private word among the words of a name, or "".
func privatePart(name string, private map[string]string) string {
	words := camelWords(name)
	for i := range words {
		joined := ""
		for _, w := range words[i:min(i+2, len(words))] {
			joined += w
			for _, form := range []string{joined, strings.TrimSuffix(joined, "s")} {
				if private[form] != "" {
					return form
				}
			}
		}
	}
	return ""
}

// camelWords splits a name where its case says that a word begins, and returns the words in
// lower case: laneConn, TLSLane.
func camelWords(name string) (words []string) {
	for part := range strings.SplitSeq(name, "_") {
		runes, begin := []rune(part), 0
		for i := 1; i < len(runes); i++ {
			after := unicode.IsUpper(runes[i]) && !unicode.IsUpper(runes[i-1])
			before := unicode.IsUpper(runes[i]) && i+1 < len(runes) && unicode.IsLower(runes[i+1])
			if after || before {
				words, begin = append(words, strings.ToLower(string(runes[begin:i]))), i
			}
		}
		words = append(words, strings.ToLower(string(runes[begin:])))
	}
	return words
}

// declared returns the names that a file declares: types, functions, methods, fields,
// constants, variables, parameters, results and locals.
func declared(f *ast.File) (names []*ast.Ident) {
	locals := func(exprs ...ast.Expr) {
		for _, e := range exprs {
			if id, ok := e.(*ast.Ident); ok {
				names = append(names, id)
			}
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			names = append(names, n.Name)
		case *ast.Field:
			names = append(names, n.Names...)
		case *ast.TypeSpec:
			names = append(names, n.Name)
		case *ast.ValueSpec:
			names = append(names, n.Names...)
		case *ast.AssignStmt:
			if n.Tok == token.DEFINE {
				locals(n.Lhs...)
			}
		case *ast.RangeStmt:
			if n.Tok == token.DEFINE {
				locals(n.Key, n.Value)
			}
		}
		return true
	})
	return names
}

func TestNamesAreSplitIntoTheirWords(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"lane": "lane", "laneConn": "lane conn", "TLSLane": "tls lane", "SYS_LANE": "sys lane", "planes": "planes", "inForceNow": "in force now",
	} {
		if got := strings.Join(camelWords(name), " "); got != want {
			t.Errorf("%s has the words %q, want %q", name, got, want)
		}
	}
	parts := folded(privateParts)
	for name, want := range map[string]string{"lanes": "lane", "newTLSDoor": "door", "nowInForce": "inforce", "planes": "", "island": ""} {
		if got := privatePart(name, parts); got != want {
			t.Errorf("%s has the private word %q, want %q", name, got, want)
		}
	}
}

// Comments are read by the same people.
func TestCommentsUseNoPrivateWords(t *testing.T) {
	t.Parallel()
	private := regexp.MustCompile(`(?i)\b(lanes?|doors?|seats?|crowds?|janitors?|likeness|hush)\b`)
	comments := 0
	for _, s := range sources(t) {
		for _, group := range s.file.Comments {
			for _, c := range group.List {
				comments++
				if word := private.FindString(c.Text); word != "" {
					t.Errorf("%s:%d: %q in a comment", s.name, s.line(c.Pos()), word)
				}
			}
		}
	}
	if comments == 0 {
		t.Error("no comments were read")
	}
}
