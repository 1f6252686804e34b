package handlers_test

import (
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/handlers"
	"github.com/dragonchain/dc-provider/pkg/heapstore"
)

// withHeap makes a contract in each of both namespaces, the one in fns with these keys, and the API on a real store.
func withHeap(t testing.TB, pairs ...string) (*world, *handlers.API) {
	t.Helper()
	w := newWorld()
	cfg := w.config(t)
	store := openStore(t)
	cfg.Heaps = store
	for _, namespace := range []string{"fns", "dev"} {
		spec := cow(namespace)
		spec.Annotations = map[string]string{"com.dragonchain.heap": "true"}
		if err := store.Create(t.Context(), w.put(t, spec, function.Status{}).Heap()); err != nil {
			t.Fatal(err)
		}
	}
	var writes []function.HeapWrite
	for i := 0; i < len(pairs); i += 2 {
		writes = append(writes, function.HeapWrite{Key: pairs[i], Value: []byte(pairs[i+1])})
	}
	if err := store.Commit(t.Context(), w.functions[cow("fns").Ref].Heap(), function.Commit{Writes: writes}); err != nil {
		t.Fatal(err)
	}
	return w, newAPI(t, cfg)
}

func TestHeap_Value(t *testing.T) {
	longest := strings.Repeat("k", heapstore.MaxKeyBytes)
	large := `"` + strings.Repeat("v", heapstore.MaxValueBytes-2) + `"`
	w, api := withHeap(t,
		"k", `{"a": 1.0}`, "a/b", "1", "a//b/", "2", "..", "3", "../x", "4", "100%", "5", "50%25", "6", "ü +?#", "7", longest, "8",
		"empty", "", "large", large, "/", "9", "a b.c", "10")
	h := api.Gateway()
	for path, want := range map[string]string{
		"cow/k":                      `{"a": 1.0}`,
		"cow.fns/k":                  `{"a": 1.0}`,
		"cow.openfaas-fn/k":          `{"a": 1.0}`,
		"c%6Fw/%6b":                  `{"a": 1.0}`,
		"cow/k?prefix=x":             `{"a": 1.0}`,
		"cow/a/b":                    "1",
		"cow/a%2Fb":                  "1",
		"cow/a//b/":                  "2",
		"cow/..":                     "3",
		"cow/../x":                   "4",
		"cow/100%25":                 "5",
		"cow/50%2525":                "6",
		"cow/%C3%BC%20+%3F%23":       "7",
		"cow/" + longest:             "8",
		"cow//":                      "9",
		"cow/a%20b.c":                "10",
		"cow/empty":                  "",
		"cow/large":                  large,
		"cow/" + url.PathEscape(`k`): `{"a": 1.0}`,
	} {
		got := call(h, "GET", "/heap/"+path, "")
		if got.Code != 200 || got.Body.String() != want || got.Header().Get("Content-Type") != "application/json" ||
			got.Header().Get("Content-Length") != strconv.Itoa(len(want)) || got.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%.80s: status %d, %.80q, %v", path, got.Code, got.Body, got.Header())
		}
	}
	w.put(t, function.Spec{Ref: function.Ref{Name: "plain", Namespace: "fns"}, Image: "i"}, function.Status{})
	for path, tells := range map[string]string{
		"cow/K": "no such key", "cow/": "no such key", "cow/a": "no such key", "cow/a/b/": "no such key", "cow/%FF": "no such key",
		"cow.dev/k": "no such key", "cow/" + longest + "k": "no such key",
		"gone/k": `"gone"`, "cow.gone/k": `"gone"`, "/k": "not in namespace", "a.cow.fns/k": `"a.cow"`, "cow.kube-system/k": "kube-system",
		"plain/k": "has no heap", "plain": "has no heap", "": "not in namespace",
	} {
		t.Run(path[:min(len(path), 40)], func(t *testing.T) { wantLine(t, call(h, "GET", "/heap/"+path, ""), 404, tells) })
	}
	wantLine(t, call(h, "GET", "/%68eap/cow/k", ""), 404, "page not found")
}

func TestHeap_OfASuccessorIsNew(t *testing.T) {
	w, api := withHeap(t, "k", "1")
	spec := w.functions[cow("fns").Ref].Spec
	delete(w.functions, spec.Ref)
	w.put(t, spec, function.Status{})
	wantLine(t, call(api.Gateway(), "GET", "/heap/cow/k", ""), 404, "no such heap")
	wantJSON(t, call(api.Gateway(), "GET", "/heap/cow", ""), `{"keys":[]}`)
}

func TestHeap_List(t *testing.T) {
	_, api := withHeap(t, "a", "1", "a/1", "1", "a/2", "1", "b", "1", "ü&", "1")
	h := api.Gateway()
	for query, want := range map[string]string{
		"":                           `{"keys":["a","a/1","a/2","b","ü\u0026"]}`,
		"?limit=2":                   `{"keys":["a","a/1"],"next":"a/1"}`,
		"?limit=2&after=a%2F1":       `{"keys":["a/2","b"],"next":"b"}`,
		"?limit=2&after=b":           `{"keys":["ü\u0026"]}`,
		"?limit=5":                   `{"keys":["a","a/1","a/2","b","ü\u0026"]}`,
		"?prefix=a/":                 `{"keys":["a/1","a/2"]}`,
		"?prefix=a/&limit=1":         `{"keys":["a/1"],"next":"a/1"}`,
		"?prefix=a/&after=a/1":       `{"keys":["a/2"]}`,
		"?prefix=%C3%BC":             `{"keys":["ü\u0026"]}`,
		"?prefix=c":                  `{"keys":[]}`,
		"?after=zzzz%FF":             `{"keys":["ü\u0026"]}`,
		"?limit=&prefix=&after=":     `{"keys":["a","a/1","a/2","b","ü\u0026"]}`,
		"?limit=99999&prefix=b":      `{"keys":["b"]}`,
		"?prefix=x&prefix=b&other=1": `{"keys":["b"]}`,
	} {
		t.Run(query, func(t *testing.T) { wantJSON(t, call(h, "GET", "/heap/cow"+query, ""), want) })
	}
	for _, query := range []string{"?limit=0", "?limit=-1", "?limit=x", "?limit=1e3", "?limit=99999999999999999999"} {
		wantLine(t, call(h, "GET", "/heap/cow"+query, ""), 400, "limit=")
	}
	wantLine(t, call(h, "GET", "/heap/cow?prefix=%zz", ""), 400, "query")
}

// TestHeap_CursorReachesEveryKeyOnce follows next to the end, with keys that need escaping in a query.
func TestHeap_CursorReachesEveryKeyOnce(t *testing.T) {
	var pairs, want []string
	for i := range 250 {
		key := strconv.Itoa(i) + " &=%+/ü#"
		pairs, want = append(pairs, key, "1"), append(want, key)
	}
	slices.Sort(want)
	_, api := withHeap(t, pairs...)
	var got []string
	for after, pages := "", 0; ; pages++ {
		answer := call(api.Gateway(), "GET", "/heap/cow?limit=7&after="+url.QueryEscape(after), "")
		var page struct {
			Keys []string
			Next string
		}
		if err := json.Unmarshal(answer.Body.Bytes(), &page); err != nil || pages > 250/7+1 {
			t.Fatalf("page %d: %q, %v", pages, answer.Body, err)
		}
		got = append(got, page.Keys...)
		if after = page.Next; after == "" {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("keys %q", got)
	}
}
