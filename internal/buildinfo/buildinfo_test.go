package buildinfo

import (
	"runtime/debug"
	"testing"
)

func TestVersionIsThatOfTheLinkerOfTheModuleOrOfTheRepository(t *testing.T) {
	for _, row := range []struct{ stamped, module, revision, version, commit string }{
		{"", "", "", "devel", "unknown"},
		{"", "(devel)", "", "devel", "unknown"},
		{"v1.2.3", "(devel)", "0123456789abcdef", "v1.2.3", "0123456789ab"},
		{"", "v1.2.3", "", "v1.2.3", "unknown"},
		{"", "v1.2.4-0.20261129224500-0123456789ab", "", "v1.2.4-0.20261129224500-0123456789ab", "0123456789ab"},
		{"", "v0.0.0-20261129224500-0123456789ab", "", "v0.0.0-20261129224500-0123456789ab", "0123456789ab"},
		{"", "v1.2.4-rc.1.0.20261129224500-0123456789ab+dirty", "", "v1.2.4-rc.1.0.20261129224500-0123456789ab+dirty", "0123456789ab"},
		{"", "v1.2.4-20261129-0123456789ab", "", "v1.2.4-20261129-0123456789ab", "unknown"},
		{"", "v1.2.3+dirty", "fedcba9876543210", "v1.2.3+dirty", "fedcba987654"},
	} {
		info := &debug.BuildInfo{Main: debug.Module{Version: row.module}}
		if row.revision != "" {
			info.Settings = append(info.Settings, debug.BuildSetting{Key: "vcs.revision", Value: row.revision})
		}
		if got, want := from(row.stamped, info), (Info{row.version, row.commit}); got != want {
			t.Errorf("%+v: %+v, want %+v", row, got, want)
		}
	}
}
