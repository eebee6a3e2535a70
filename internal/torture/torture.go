// Package torture runs the program between hostile clients, recording origins
// and faults, and proves from all their logs that nothing was lost and no one
// got in. It is tests alone, built with the tag torture, and no part of the
// program:
//
//	go test -v -tags torture ./internal/torture -run TestTorture -timeout 40m -args -duration 2m -seed 7
//	go test -v -tags torture ./internal/torture -run TestDefects -timeout 20m
//	go test -v -tags torture ./internal/torture -run TestCrowdings -timeout 20m
//	go test -v -tags torture ./internal/torture -run TestWeather -timeout 2h -args -weatherruns 5
//
// What it does: it builds cmd/proxy and runs it in rounds. In a round, clients
// open tunnels, send requests and ask for names, each by a plan that the seed
// gives, well-behaved or not; origins and a DNS upstream write down who comes;
// and faults strike: signals, kills, reloads of good and bad files, keys of an issuer of
// AWS that rotate, a full disk, a reader that stalls, rotation, failing DNS, resets, and attackers who take
// what all share, each way by itself and all at once. The program has few descriptors,
// so that they can. Beside all of that a second issuer, whose keys the program fetches by
// HTTPS, rotates them, is slow or down, and answers what is no set of its keys. At the end of
// the round the load stops, what the process still holds is measured, it is
// stopped, and the checker reads everything.
//
// The program is the one of the tree, but for four times of the key fetcher: an hour, half
// a minute, a day and ten seconds are some seconds each (times_test.go), so that a round
// has all of them.
//
// What the checker proves:
//
//   - Every operation has one outcome, and it is what the model of a policy
//     says that was in force during it. The model (model_test.go) shares no
//     code with the program.
//   - No honest caller is refused for another's doing: not by a limit, not by a lookup
//     or a dial that found no place, and its connection does not end without an answer.
//     Crowding excuses nothing.
//   - What a client saw refused, the records hold, from before it saw it.
//     "Before" is exact where records go to a file: a client that has read an
//     answer notes how long the file is.
//   - A token of AWS holds while the key that has signed it is published and the policy
//     has its function, whoever shows forged ones beside it; a forged one never does, nor
//     one that another issuer has signed.
//   - Where keys are fetched, a token holds if its key is in each set that the program may
//     have by what the issuer has answered, and does not if it is in none. The reason is
//     keys_unavailable where there may be no set, or one that is too old, and only there.
//     While keys come, a token may do either. The issuer is not asked more often than it may
//     be, and no process is ready before it was given keys.
//   - Origins are contacted for permitted targets alone, canaries never; a
//     byte reaches an origin behind its record alone; names that are refused
//     never reach the DNS upstream.
//   - Bytes recorded are the bytes that both ends have counted, where both saw
//     the end; no byte is of another tunnel.
//   - The records of each process are one chain without a gap, but for the
//     tail of one that was killed, by a reader of its own and by
//     internal/evidence.
//   - Metrics, records and the totals in the records add up to the same.
//   - Descriptors, goroutines, tunnels and memory come back to where they were.
//
// What it does not do: it measures no speed, but for TestWeather, which is apart: lookups
// and CONNECTs behind upstreams that are silent, slow, lossy or lame, beside Unbound and
// dnsdist where the machine has them. A fault that a client cannot tell from a
// bug (a kill in the middle of its request) excuses the missing answer to that
// request, never a missing record.
//
// TestCrowdings has one round for each way of crowding, and wants the program to refuse
// something to the attackers: a way that takes less than it may have shows nothing.
//
// TestDefects builds the program with one defect at a time, put in by
// `go build -overlay` from the folder defects, and wants the checker to find it.
package torture
