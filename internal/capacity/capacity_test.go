package capacity

import (
	"bytes"
	"cmp"
	"log/slog"
	"strings"
	"testing"
)

// asked are the default limits.
var asked = Wanted{Tunnels: 20000, PerFunction: 5000, PreAuth: 4096}

// Whatever the limits and the descriptors are, all that clients can bring the
// server to hold leaves a reserve, and nothing of it is zero.
func TestWhatClientsCanHoldFitsTheDescriptorsWithAReserve(t *testing.T) {
	for _, tunnels := range []int{1, 10, 100, 400, 1000, 20000, 30000} {
		fitsWithAReserve(t, Wanted{Tunnels: tunnels, PerFunction: max(tunnels/4, 1), PreAuth: asked.PreAuth})
	}
}

func fitsWithAReserve(t *testing.T, asked Wanted) {
	t.Helper()
	for _, files := range []int{1, 16, 64, 128, 256, 257, 512, 1024, 1500, 4096, 20000, 65535, 1 << 20, 1 << 30} {
		r := Fit(asked, files, 0)
		for name, n := range map[string]int{
			"seats": r.Connections, "unidentified": r.PreAuth, "tunnels": r.Tunnels, "tunnels of a function": r.PerFunction,
			"kept": r.KeepAlive, "pooled": r.Pooled, "pipes": r.Pipes, "beside": r.ExtraDials,
		} {
			if n < 1 {
				t.Errorf("%d descriptors for %d tunnels: %s is %d", files, asked.Tunnels, name, n)
			}
		}
		if files < 128 {
			continue // too few to serve anyone and keep a reserve
		}
		most := r.Connections + r.Tunnels + r.Pooled + 2*r.Pipes + r.ExtraDials
		if spare := files - most; spare < files/128 || spare < leastReserve {
			t.Errorf("%d descriptors: clients can hold %d, which leaves %d", files, most, spare)
		}
		if r.Connections < r.PreAuth+r.Tunnels+r.KeepAlive {
			t.Errorf("%d descriptors: %d seats for %d unidentified, %d tunnels and %d kept", files, r.Connections, r.PreAuth, r.Tunnels, r.KeepAlive)
		}
	}
}

// The descriptors of a Fargate task take the default limits whole.
func TestDefaultLimitsFitTheDescriptorsOfATask(t *testing.T) {
	var log bytes.Buffer
	r := Fit(asked, 65535, 1<<30)
	r.WarnIfCut(asked, asked, LookupLimits{}, slog.New(slog.NewJSONHandler(&log, nil)))
	if r.Tunnels != asked.Tunnels || r.PreAuth != asked.PreAuth || log.Len() > 0 {
		t.Errorf("%+v, %s", r, &log)
	}
}

// Where the whole is cut so is the part of it that one caller may have, or that part
// would be the whole: one function would take every tunnel there is.
func TestEachLimitIsCutInProportion(t *testing.T) {
	for _, files := range []int{256, 1024, 20000, 65535} {
		for _, per := range []int{1, 4, 100, 5000, 10000, 20000} {
			w := Wanted{Tunnels: 20000, PerFunction: per, PreAuth: 4096}
			r := Fit(w, files, 0)
			switch {
			case r.PerFunction < 1 || r.PerFunction > r.Tunnels:
				t.Errorf("%d descriptors: %d of %d tunnels are one function's", files, r.PerFunction, r.Tunnels)
			case r.PerFunction > min(leastPerFunction, r.Tunnels/4) && r.PerFunction*w.Tunnels > per*r.Tunnels:
				t.Errorf("%d descriptors: one function has %d of %d tunnels, which is more than %d of %d", files, r.PerFunction, r.Tunnels, per, w.Tunnels)
			case per <= leastPerFunction && r.PerFunction != per:
				t.Errorf("%d descriptors: a function has %d, and is to have %d of %d", files, r.PerFunction, per, r.Tunnels)
			case r.Tunnels == w.Tunnels && r.PerFunction != per:
				t.Errorf("%d descriptors: a function has %d of %d though the tunnels are whole", files, r.PerFunction, per)
			}
			if most := r.Connections + r.Tunnels + r.Pooled + 2*r.Pipes + r.ExtraDials; most > files-leastReserve {
				t.Errorf("%d descriptors: clients can hold %d", files, most)
			}
		}
	}
}

// A machine that has not the descriptors for the defaults is not at fault: nobody
// asked for that many.
func TestLimitsThatAreCutAreTold(t *testing.T) {
	for _, row := range []struct {
		asked  Wanted
		files  int
		memory uint64
		want   string
	}{
		{Wanted{}, 256, 0, `"level":"INFO"`},
		{Wanted{}, 0, 256 << 20, `"level":"INFO"`},
		{Wanted{Tunnels: 10}, 4096, 0, `"level":"INFO"`},
		{Wanted{Tunnels: 10000}, 1024, 0, `"level":"WARN"`},
		{Wanted{PreAuth: 4096}, 1024, 0, `"level":"WARN"`},
		{Wanted{PerFunction: 5000}, 1024, 0, `"level":"WARN"`},
		{asked, 256, 0, `"tunnels":20000,"tunnels_cut_to":73,"tunnels_per_function":5000,"tunnels_per_function_cut_to":18,"unidentified":4096,"unidentified_cut_to":24,"kept_alive":8192,"kept_alive_cut_to":6,"pooled":1024,"pooled_cut_to":6,"pipes":128,"pipes_cut_to":3,"extra_dials":1024,"extra_dials_cut_to":3,"lookups":1024,"lookups_cut_to":32,"dns_connections":4096,"dns_connections_cut_to":16}`},
		{asked, 0, 256 << 20, `"tunnels":20000,"tunnels_cut_to":20000,"tunnels_per_function":5000,"tunnels_per_function_cut_to":5000,"unidentified":4096,"unidentified_cut_to":1024}`},
		{asked, 1024, 0, `"tunnels_cut_to":`},
	} {
		var log bytes.Buffer
		wanted := Wanted{Tunnels: cmp.Or(row.asked.Tunnels, asked.Tunnels), PerFunction: cmp.Or(row.asked.PerFunction, asked.PerFunction), PreAuth: cmp.Or(row.asked.PreAuth, asked.PreAuth)}
		Fit(wanted, row.files, row.memory).WarnIfCut(row.asked, wanted, FitLookups(row.files, true), slog.New(slog.NewJSONHandler(&log, nil)))
		if !strings.Contains(log.String(), row.want) {
			t.Errorf("%d descriptors, %d bytes: logged %q, want %s", row.files, row.memory, &log, row.want)
		}
	}
}
