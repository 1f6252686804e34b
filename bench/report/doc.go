// Package report keeps what was measured and says what it means.
//
// # Words
//
//	contestant  a program, or a way to use it, that is compared with others
//	sample      what one turn of one contestant in one round measured: values by name
//	goal        what a value, or the relation of two contestants' values, should be
//	outcome     that relation in each round, its median and spread, and whether the median meets the goal
//
// A value's name ends in its unit, as in Go's benchmark format: req/s, p50-ns, rss-bytes. A ratio is taken within a round,
// between turns that were minutes apart at most, and the median over the rounds is what counts: a machine that slows down in the
// course of the run slows both.
//
// # Files
//
//	FOLDER/TIME/results.json   everything, with each latency histogram as pairs of nanoseconds and count
//	            bench.txt      Go's benchmark format: benchstat -col /contestant bench.txt, benchstat OLD NEW
//	            report.md      tables, goals and plots
//	            *.svg          the plots
//
// Sources: https://go.dev/design/14313-benchmark-format.
package report
