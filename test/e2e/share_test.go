package e2e

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestPool_NodeClaims wakes three times as many functions at once as one node may be starting in spares. All are answered, and at no time
// does a node start more.
func TestPool_NodeClaims(t *testing.T) {
	t.Parallel()
	most, err := strconv.Atoi(installedWith(t, "--pool-node-claims"))
	if err != nil {
		t.Fatal(err)
	}
	if most > 3 {
		t.Skipf("--pool-node-claims=%d is too much to be passed: make test-e2e gives less in a pass of its own", most)
	}
	namespace := newPool(t, 0)
	functions := make([]function, 3*most)
	for i := range functions {
		d := parrot()
		d.Namespace = namespace
		functions[i] = deploy(t, d)
	}
	for _, f := range functions {
		f.awaitReplicas(t, 1)
		f.scale(t, 0)
	}
	for _, f := range functions {
		f.awaitZero(t)
	}
	resize(t, namespace, len(functions))
	eventually(t, "all spares are free", func() (bool, string) {
		free := series(t, scrape(t), "dc_pool_spares", `namespace="`+namespace+`"`)
		return free == float64(len(functions)), fmt.Sprint(free)
	})

	answered := make(chan struct{})
	for _, f := range functions {
		ended := f.wakeBeside(t, f.name)
		go func() {
			(<-ended).is(t, f.name)
			answered <- struct{}{}
		}()
	}
	starting := regexp.MustCompile(`(?m)^dc_pool_claims_starting{node="[^"]*"} (\d+)$`)
	seen := 0
	for left := len(functions); left > 0; {
		for _, m := range starting.FindAllStringSubmatch(scrape(t), -1) {
			n, err := strconv.Atoi(m[1])
			if err != nil {
				t.Fatal(err)
			}
			seen = max(seen, n)
		}
		select {
		case <-answered:
			left--
		case <-time.After(5 * time.Millisecond): // the time between two looks
		}
	}
	t.Logf("%d at a time at most, of %d", seen, most)
	if seen > most {
		t.Errorf("a node started %d claims at a time, and may start %d", seen, most)
	}
	if seen == 0 {
		t.Error("no claim was seen to start")
	}
	claims := 0
	for _, f := range functions {
		claimed, _ := f.claimed(t)
		claims += len(claimed)
	}
	if claims == 0 {
		t.Error("no function was given a spare")
	}
}

// TestPool_RefillIsShared has two namespaces want spares at once, one of them many, whose name comes first: the other gets its first
// one before that has all.
func TestPool_RefillIsShared(t *testing.T) {
	t.Parallel()
	const many, few = 8, 2
	// So many come at a time at most: the first's may all have been asked for before the second wants any.
	const coming = 4
	namespaces := []string{newPool(t, 0), newPool(t, 0)}
	slices.Sort(namespaces)
	first, second := namespaces[0], namespaces[1]
	pods, err := cluster.CoreV1().Pods("").Watch(within(t, settleLimit), metav1.ListOptions{LabelSelector: labelSpare})
	if err != nil {
		t.Fatal(err)
	}
	defer pods.Stop()
	for _, size := range []struct {
		namespace string
		size      int
	}{{first, many}, {second, few}} {
		body := fmt.Sprintf(`{"name":%q,"annotations":{%q:"%d"}}`, size.namespace, annotationPoolSize, size.size)
		gateway.do(t, http.MethodPut, "/system/namespace/"+size.namespace, body).is(t, "set the pool's size", http.StatusAccepted)
	}
	before := len(podsIn(t, first, labelSpare))
	made := map[string]int{}
	for made[second] == 0 {
		e, ok := <-pods.ResultChan()
		if !ok {
			t.Fatalf("the watch ended when these were made: %v", made)
		}
		p, is := e.Object.(*corev1.Pod)
		if !is || e.Type != "ADDED" || !slices.Contains(namespaces, p.Namespace) {
			continue
		}
		made[p.Namespace]++
	}
	t.Logf("%d were made when two wanted some, %d when the second got its first", before, made[first])
	if before <= coming && made[first] >= many {
		t.Error("one namespace got all of its spares before the other got one")
	}
	awaitSpares(t, second, few)
}
