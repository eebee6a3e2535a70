package capacity

import "testing"

// What lookups and DNS clients take, and what is left to all else, is together no more than
// the process may open, and everybody has some.
func TestLookupsAndDNSClientsHaveAPartOfTheDescriptors(t *testing.T) {
	for _, tt := range []struct {
		files  int
		filter bool
		want   LookupLimits
	}{
		{0, true, LookupLimits{1024, 4096, 0}},
		{-1, false, LookupLimits{1024, 0, -1}},
		{1, true, LookupLimits{4, 4, 1}},
		{256, true, LookupLimits{32, 16, 175}},
		{256, false, LookupLimits{32, 0, 224}},
		{1024, true, LookupLimits{128, 64, 751}},
		{20_000, false, LookupLimits{416, 0, 19_584}},
		{20_000, true, LookupLimits{416, 1250, 18_109}},
		{65_535, true, LookupLimits{1024, 4096, 59_886}},
		{1 << 20, true, LookupLimits{1024, 4096, 1<<20 - 1536 - 4096 - 17}},
	} {
		l := FitLookups(tt.files, tt.filter)
		if l != tt.want {
			t.Errorf("of %d, filter %t: %+v, want %+v", tt.files, tt.filter, l, tt.want)
		}
		own := l.Lookups * 3 / 2 // half as many questions may be at a second upstream
		if !tt.filter {
			own = l.Lookups // half of them stand in for connections to origins
		}
		if sum := own + l.DNSConns + l.Files; tt.files >= 64 && sum > tt.files {
			t.Errorf("of %d: %d", tt.files, sum)
		}
	}
}
