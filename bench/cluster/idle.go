package cluster

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/dragonchain/dc-provider/bench/report"
	"github.com/dragonchain/dc-provider/bench/scenario"
)

const (
	providerNamespace = "openfaas"
	metricsPort       = "8082"
	metricCPU         = "process_cpu_seconds_total"
	metricRSS         = "process_resident_memory_bytes"
	// metricNextGC is twice what the last collection found in use.
	metricNextGC   = "go_memstats_next_gc_bytes"
	selectProvider = "app.kubernetes.io/name=dc-provider"

	idleFunctions = 10_000
	// recordsAtOnce is how many records are written side by side.
	recordsAtOnce = 16
	idleLists     = 5
	// idleLimit is how long all that may take, and recordsPerPage how many records are asked for at a time when their statuses are
	// looked at, every stillTime.
	idleLimit      = 15 * time.Minute
	recordsPerPage = 1000
	stillTime      = 5 * time.Second
	// idleTime is how long the provider is watched with all of them at zero.
	idleTime = 10 * time.Second
)

// idle is what costs what nobody calls.
func (r *room) idle() *scenario.Scenario {
	s := &scenario.Scenario{
		Name: "cluster/wake/idle",
		About: fmt.Sprintf("A spare: memory of its pod, as the kubelet tells. The provider before and after %d records of functions at zero were written, and their statuses: "+
			"memory that its garbage collector found in use, and all that the system gives it; its processor time, %v long, of one processor; the list of all of "+
			"them, median of %d; and objects of theirs.", idleFunctions, idleTime, idleLists),
		Plot: "provider-heap-bytes/function", Rounds: 1,
		Contestants: []scenario.Contestant{
			{Name: "spare", Turn: r.turn(r.spareMemory)},
			{Name: "records", Turn: r.turn(r.tenThousand)},
		},
		Goals: []report.Goal{
			{Metric: "working-set-bytes", Relation: report.Value, Of: "spare", AtMost: 12e6},
			{Metric: "provider-heap-bytes/function", Relation: report.Value, Of: "records", AtMost: 4096},
			{Metric: "list-ns", Relation: report.Value, Of: "records", AtMost: 300e6},
			{Metric: "without-objects", Relation: report.Value, Of: "records", AtLeast: idleFunctions},
		},
	}
	return r.in(s, wakeSpares, nil)
}

func (r *room) turn(measure func(context.Context) (map[string]float64, error)) func(*scenario.Turn) (scenario.Measured, error) {
	return func(t *scenario.Turn) (scenario.Measured, error) {
		ctx, cancel := context.WithTimeout(t.Context, idleLimit)
		defer cancel()
		values, err := measure(ctx)
		return scenario.Measured{Count: 1, Values: values}, err
	}
}

// spareMemory asks the kubelet what a spare's pod takes.
func (r *room) spareMemory(ctx context.Context) (map[string]float64, error) {
	if err := r.settle(ctx); err != nil {
		return nil, err
	}
	spares, err := r.cluster.CoreV1().Pods(r.namespace).List(ctx, metav1.ListOptions{LabelSelector: selectSpares})
	if err != nil {
		return nil, err
	}
	if len(spares.Items) == 0 {
		return nil, errors.New("no spare is there")
	}
	spare := &spares.Items[0]
	for {
		raw, err := r.cluster.CoreV1().RESTClient().Get().Resource("nodes").Name(spare.Spec.NodeName).SubResource("proxy").Suffix("metrics/resource").DoRaw(ctx)
		if err != nil {
			return nil, fmt.Errorf("ask the kubelet: %w", err)
		}
		told := parseMetrics(raw)[fmt.Sprintf(`pod_memory_working_set_bytes{namespace=%q,pod=%q}`, spare.Namespace, spare.Name)]
		if told > 0 {
			return map[string]float64{"working-set-bytes": told}, nil
		}
		// It looks at pods every ten seconds or so.
		if err := pause(ctx, time.Second); err != nil {
			return nil, fmt.Errorf("the kubelet does not tell of pod %s: %w", spare.Name, err)
		}
	}
}

// records writes records of functions at zero.
func (r *room) records(ctx context.Context, functions map[string]kind) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(recordsAtOnce)
	path := "/apis/openfaas.com/v1/namespaces/" + r.namespace + "/functions"
	for name, k := range functions {
		spec := map[string]any{"name": name, "image": k.spec["image"], "replicas": 0}
		for ours, published := range map[string]string{"envProcess": "handler", "envVars": "environment", "annotations": "annotations", "labels": "labels"} {
			if v, ok := k.spec[ours]; ok {
				spec[published] = v
			}
		}
		body, err := json.Marshal(map[string]any{
			"apiVersion": "openfaas.com/v1", "kind": "Function",
			"metadata": map[string]any{"name": name, "namespace": r.namespace}, "spec": spec,
		})
		if err != nil {
			return err
		}
		g.Go(func() error { return r.cluster.RESTClient().Post().AbsPath(path).Body(body).Do(ctx).Error() })
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("write records: %w", err)
	}
	return nil
}

// tenThousand measures the provider with so many functions at zero.
func (r *room) tenThousand(ctx context.Context) (map[string]float64, error) {
	before, err := r.metrics(ctx)
	if err != nil {
		return nil, err
	}
	functions := make(map[string]kind, idleFunctions)
	for i := range idleFunctions {
		functions[fmt.Sprintf("idle-%d", i)] = kind{spec: map[string]any{
			"image": "dragonchain/example-shell:dev", "envProcess": "cat",
			"envVars": map[string]string{"exec_timeout": "30s", "greeting": "moo"},
			"labels":  map[string]string{"com.openfaas.scale.zero": "true", "team": "a"},
		}}
	}
	values := map[string]float64{}
	started := time.Now()
	if err := r.records(ctx, functions); err != nil {
		return nil, err
	}
	values["written-ns"] = float64(time.Since(started))
	if err := r.allKnown(ctx); err != nil {
		return nil, err
	}
	values["known-ns"] = float64(time.Since(started))
	if err := r.allTold(ctx); err != nil {
		return nil, err
	}
	values["told-ns"] = float64(time.Since(started))
	// A list takes memory of its own: what is the functions' alone shows best where that is gone again.
	least := map[string]float64{}
	look := func() error {
		now, err := r.metrics(ctx)
		for name, value := range now {
			if known, ok := least[name]; !ok || value < known {
				least[name] = value
			}
		}
		return err
	}
	var lists []float64
	for range idleLists {
		started := time.Now()
		if _, err := r.list(ctx); err != nil {
			return nil, err
		}
		lists = append(lists, float64(time.Since(started)))
		if err := errors.Join(pause(ctx, time.Second), look()); err != nil {
			return nil, err
		}
	}
	values["list-ns"] = median(lists)
	started = time.Now()
	began, err := r.metrics(ctx)
	if err != nil {
		return nil, err
	}
	if err := pause(ctx, idleTime); err != nil {
		return nil, err
	}
	ended, err := r.metrics(ctx)
	if err != nil {
		return nil, err
	}
	values["provider-cpu/s"] = (ended[metricCPU] - began[metricCPU]) / time.Since(started).Seconds()
	values["provider-heap-bytes/function"] = (least[metricNextGC] - before[metricNextGC]) / 2 / idleFunctions
	values["provider-rss-bytes/function"] = (least[metricRSS] - before[metricRSS]) / idleFunctions
	values["provider-rss-bytes"] = least[metricRSS]
	objects, err := r.objects(ctx)
	values["without-objects"] = idleFunctions - float64(objects)
	return values, err
}

// list is the provider's list of the room's functions.
func (r *room) list(ctx context.Context) ([]json.RawMessage, error) {
	raw, err := r.send(ctx, http.MethodGet, "/system/functions?namespace="+r.namespace, nil, http.StatusOK)
	if err != nil {
		return nil, err
	}
	var all []json.RawMessage
	return all, json.Unmarshal(raw, &all)
}

// allTold returns when each record's status tells what became of it, and none has changed since the look before: the provider has nothing
// left to do for any.
func (r *room) allTold(ctx context.Context) error {
	before := uint64(0)
	for {
		told, seen, err := r.statuses(ctx)
		if err != nil {
			return err
		}
		if told == idleFunctions && seen == before {
			return nil
		}
		before = seen
		if err := pause(ctx, stillTime); err != nil {
			return fmt.Errorf("%d records have a status of their own: %w", told, err)
		}
	}
}

// statuses counts the records whose status is about what is asked for now. seen is another number whenever one of them has changed.
func (r *room) statuses(ctx context.Context) (told int, seen uint64, err error) {
	sum := fnv.New64a()
	next := ""
	for {
		raw, err := r.cluster.RESTClient().Get().AbsPath("/apis/openfaas.com/v1/namespaces/"+r.namespace+"/functions").
			Param("limit", strconv.Itoa(recordsPerPage)).Param("continue", next).DoRaw(ctx)
		if err != nil {
			return 0, 0, fmt.Errorf("look at the records: %w", err)
		}
		var page struct {
			Metadata metav1.ListMeta
			Items    []struct {
				Metadata metav1.ObjectMeta
				Status   struct{ ObservedGeneration int64 }
			}
		}
		if err := json.Unmarshal(raw, &page); err != nil {
			return 0, 0, fmt.Errorf("look at the records: %w", err)
		}
		for _, item := range page.Items {
			if item.Status.ObservedGeneration == item.Metadata.Generation {
				told++
			}
			fmt.Fprintln(sum, item.Metadata.Name, item.Metadata.ResourceVersion)
		}
		if next = page.Metadata.Continue; next == "" {
			return told, sum.Sum64(), nil
		}
	}
}

// allKnown returns when the provider lists all functions.
func (r *room) allKnown(ctx context.Context) error {
	for {
		all, err := r.list(ctx)
		if err != nil {
			return err
		}
		if len(all) == idleFunctions {
			return nil
		}
		if err := pause(ctx, time.Second); err != nil {
			return fmt.Errorf("the provider lists %d functions: %w", len(all), err)
		}
	}
}

// objects counts what Kubernetes has in the room beside the records and the spares.
func (r *room) objects(ctx context.Context) (int, error) {
	pods, err := r.cluster.CoreV1().Pods(r.namespace).List(ctx, metav1.ListOptions{LabelSelector: "!" + selectSpares})
	if err != nil {
		return 0, err
	}
	services, err := r.cluster.CoreV1().Services(r.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return 0, err
	}
	deployments, err := r.cluster.AppsV1().Deployments(r.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return 0, err
	}
	return len(pods.Items) + len(services.Items) + len(deployments.Items), nil
}

// metrics are those of the provider.
func (r *room) metrics(ctx context.Context) (map[string]float64, error) {
	pods, err := r.cluster.CoreV1().Pods(providerNamespace).List(ctx, metav1.ListOptions{LabelSelector: selectProvider})
	if err != nil {
		return nil, err
	}
	if len(pods.Items) != 1 {
		return nil, fmt.Errorf("there are %d providers, want one", len(pods.Items))
	}
	raw, err := r.cluster.CoreV1().Pods(providerNamespace).ProxyGet("http", pods.Items[0].Name, metricsPort, "/metrics", nil).DoRaw(ctx)
	if err != nil {
		return nil, fmt.Errorf("the provider's metrics: %w", err)
	}
	values := parseMetrics(raw)
	for _, name := range []string{metricCPU, metricRSS, metricNextGC} {
		if _, ok := values[name]; !ok {
			return nil, fmt.Errorf("the provider's metrics: no %s", name)
		}
	}
	return values, nil
}

// parseMetrics reads the lines of Prometheus' text format, by name and labels.
func parseMetrics(text []byte) map[string]float64 {
	values := make(map[string]float64)
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] == "#" {
			continue
		}
		if value, err := strconv.ParseFloat(fields[1], 64); err == nil { // labels with blanks are none of those that are looked for
			values[fields[0]] = value
		}
	}
	return values
}

func median(values []float64) float64 { return slices.Sorted(slices.Values(values))[len(values)/2] }
