// Command bench measures the watchdog, the data plane, heaps and the cluster, beside what others have, and says which goals are met. It
// asserts nothing about speed; a wrong answer ends it.
//
// # Rooms
//
//	load      requests in a closed or an open loop, and how long their answers take
//	contest   the programs that are compared: built, started, watched, stopped
//	scenario  what is measured, of whom, in rounds
//	cluster   the scenario that needs a cluster: the life of a function
//	report    results, goals, tables and plots
//	cmd       the small programs behind and beside what is compared: the function itself, baselines, proxies
//
// # How a run goes
//
//	-prepare: go build, go install ──► OUT/bin
//	-run: scenarios ──► rounds ──► turns: ABC ABC ABC ──► OUT/TIME/{results.json, bench.txt, report.md, *.svg} ──► goals
//
// Contestants take turns, one at a time, each in new processes, so that whatever else the machine does meets all of them; their
// values are compared within a round. The two steps are apart because make bench measures where there is no way out: in the
// network of the dev cluster's node, or in an empty one.
//
// # What the figures are not
//
// Generator, contestant and function share the machine. Throughput is therefore that of all three together: only relations
// between contestants mean something, and a contestant of no cost at all would reach direct's figures. The generator's own share is
// in generator-cpu-ns/op, and the scenario check/generator compares it with wrk.
//
// Sources: the format of bench.txt is that of https://go.dev/design/14313-benchmark-format.
package main
