package report

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
)

// plot is an image of one scenario.
type plot struct{ title, file, svg string }

// plots are the values by contestant, and the latencies if they were kept.
func (s *Scenario) plots() []plot {
	base := strings.NewReplacer("/", "-", " ", "-").Replace(s.Name)
	var all []plot
	if svg := s.dots(); svg != "" {
		all = append(all, plot{s.Name + ": " + s.Plot + " of each round", base + ".svg", svg})
	}
	if svg := s.curves(); svg != "" {
		all = append(all, plot{s.Name + ": latency by percentile", base + "-latency.svg", svg})
	}
	return all
}

// Colours that differ in lightness too, after P. Okabe and K. Ito, "Color Universal Design".
var colours = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999"}

const (
	width                    = 820
	left, right, top, bottom = 220, 40, 40, 40
)

// canvas collects the elements of an image.
type canvas struct {
	strings.Builder
	height int
}

func newCanvas(title string, height int) *canvas {
	c := &canvas{height: height}
	fmt.Fprintf(c, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(c, `<rect width="100%%" height="100%%" fill="white"/>`+"\n")
	c.text(width/2, 20, "middle", title)
	return c
}

func (c *canvas) text(x, y float64, anchor, text string) {
	fmt.Fprintf(c, `<text x="%.1f" y="%.1f" text-anchor="%s">%s</text>`+"\n", x, y, anchor, html.EscapeString(text))
}

func (c *canvas) line(x1, y1, x2, y2 float64, colour string, thickness float64) {
	fmt.Fprintf(c, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" stroke-width="%g"/>`+"\n", x1, y1, x2, y2, colour, thickness)
}

func (c *canvas) end() string { return c.String() + "</svg>\n" }

// dots draws a row for each contestant: a dot for each round, a stroke at the median. The axis begins at zero.
func (s *Scenario) dots() string {
	const row = 34
	most := 0.0
	for _, sample := range s.Samples {
		most = max(most, sample.Values[s.Plot])
	}
	if most <= 0 {
		return ""
	}
	contestants := s.Contestants()
	c := newCanvas(s.Name+": "+s.Plot, top+bottom+row*len(contestants))
	foot := float64(c.height - bottom)
	x := func(v float64) float64 { return left + v/most*(width-left-right) }
	for i := range 6 {
		v := most * float64(i) / 5
		c.line(x(v), top, x(v), foot, "#dddddd", 1)
		c.text(x(v), foot+18, "middle", Format(s.Plot, v))
	}
	for i, contestant := range contestants {
		y := float64(top + row*i + row/2)
		c.text(left-10, y+4, "end", contestant)
		var all []float64
		for _, v := range s.of(contestant, s.Plot) {
			all = append(all, v)
		}
		if len(all) == 0 {
			continue
		}
		slices.Sort(all) // a map's order is no order
		for _, v := range all {
			fmt.Fprintf(c, `<circle cx="%.1f" cy="%.1f" r="4" fill="%s" fill-opacity="0.5"/>`+"\n", x(v), y, colours[i%len(colours)])
		}
		c.line(x(middle(all)), y-11, x(middle(all)), y+11, colours[i%len(colours)], 2.5)
	}
	return c.end()
}

// curves draws latency over percentile, all rounds together. Each step to the right is a tenth of the requests before it.
func (s *Scenario) curves() string {
	const height = 400
	least, most := math.Inf(1), 0.0
	var longest int64
	merged := map[string]map[int64]int64{}
	for _, sample := range s.Samples {
		for _, p := range sample.Latency {
			if merged[sample.Contestant] == nil {
				merged[sample.Contestant] = map[int64]int64{}
			}
			merged[sample.Contestant][p[0]] += p[1]
			least, most = min(least, float64(p[0])), max(most, float64(p[0]))
		}
	}
	if len(merged) == 0 {
		return ""
	}
	for _, pairs := range merged {
		var n int64
		for _, count := range pairs {
			n += count
		}
		longest = max(longest, n)
	}
	c := newCanvas(s.Name+": latency by percentile", height)
	nines := max(1, math.Ceil(math.Log10(float64(longest))))
	low, high := math.Floor(math.Log10(least)), math.Ceil(math.Log10(most))
	if high == low {
		high++
	}
	x := func(share float64) float64 { return left + min(-math.Log10(1-share), nines)/nines*(width-left-right) }
	y := func(ns float64) float64 {
		return float64(height-bottom) - (math.Log10(ns)-low)/(high-low)*float64(height-top-bottom)
	}
	for i := range int(nines) + 1 {
		share := 1 - math.Pow(10, -float64(i))
		c.line(x(share), top, x(share), height-bottom, "#dddddd", 1)
		c.text(x(share), height-bottom+18, "middle", fmt.Sprintf("%.*f%%", max(0, i-2), share*100))
	}
	for e := low; e <= high; e++ {
		ns := math.Pow(10, e)
		c.line(left, y(ns), width-right, y(ns), "#dddddd", 1)
		c.text(left-10, y(ns)+4, "end", Format("-ns", ns))
	}
	for i, contestant := range s.Contestants() {
		if merged[contestant] == nil {
			continue
		}
		colour := colours[i%len(colours)]
		fmt.Fprintf(c, `<polyline fill="none" stroke="%s" stroke-width="2" points="%s"/>`+"\n", colour, polyline(merged[contestant], x, y))
		c.line(10, float64(top+18*i), 26, float64(top+18*i), colour, 3)
		c.text(30, float64(top+18*i+4), "start", contestant)
	}
	return c.end()
}

// polyline is the points of a cumulated distribution.
func polyline(pairs map[int64]int64, x, y func(float64) float64) string {
	var total, below int64
	var values []int64
	for ns, count := range pairs {
		values, total = append(values, ns), total+count
	}
	slices.Sort(values)
	var points strings.Builder
	lastX := math.Inf(-1)
	for i, ns := range values {
		below += pairs[ns]
		// A point that is not to be told from the one before says nothing. The last request of all has no share after it.
		at := x(float64(below) / (float64(total) + 1))
		if at-lastX >= 0.5 || i == len(values)-1 {
			fmt.Fprintf(&points, "%.1f,%.1f ", at, y(float64(ns)))
			lastX = at
		}
	}
	return strings.TrimSpace(points.String())
}
