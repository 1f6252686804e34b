package e2e

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const annotationChain = "com.dragonchain.chain"

// installedWith is the value of an argument of the provider's that not every installation has, and skips the test on those.
func installedWith(t *testing.T, argument string) string {
	t.Helper()
	installed, err := cluster.AppsV1().Deployments(providerNamespace).Get(t.Context(), "dc-provider", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range installed.Spec.Template.Spec.Containers[0].Args {
		if value, is := strings.CutPrefix(a, argument+"="); is {
			return value
		}
	}
	t.Skipf("the provider runs without %s: make test-e2e gives it in a pass of its own", argument)
	return ""
}

// transactionOnChain is what a chain takes.
type transactionOnChain struct {
	Version, DCRN string
	Header        struct {
		TxnType   string  `json:"txn_type"`
		DCID      string  `json:"dc_id"`
		TxnID     string  `json:"txn_id"`
		BlockID   *string `json:"block_id"`
		Timestamp string
		Tag       string
		Invoker   string
	}
	Payload string
}

// chain takes transactions at the address that the installation has for one, if they are signed with the key that it was given.
type chain struct {
	keyID, key string

	mu sync.Mutex
	// refusing has every transaction answered 500 and not taken; refused counts those.
	refusing bool
	refused  int
	// forgetful has the first transaction that comes taken, and answered 500.
	forgetful bool
	taken     []transactionOnChain
	// unfit tells of requests that are no transactions of this chain's.
	unfit []string
}

// startChain has a chain take transactions until the test ends.
func startChain(t *testing.T) *chain {
	t.Helper()
	at, err := url.Parse(installedWith(t, "--chain-url"))
	if err != nil {
		t.Fatal(err)
	}
	secret, err := cluster.CoreV1().Secrets(providerNamespace).Get(t.Context(), "chain-account", metav1.GetOptions{})
	if err != nil {
		t.Fatalf("the provider's key of the chain, which dev/e2e.sh makes: %v", err)
	}
	c := &chain{keyID: string(secret.Data["key-id"]), key: string(secret.Data["key"])}
	listener, err := net.Listen("tcp", at.Host)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: c}
	serving := make(chan error, 1)
	go func() { serving <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Close() // whatever it says, the test is over
		if err := <-serving; err != http.ErrServerClosed {
			t.Errorf("the chain: %v", err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, u := range c.unfit {
			t.Errorf("the chain was sent %s", u)
		}
	})
	return c
}

func (c *chain) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // its sender was killed: what it did not send whole it sends again
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refusing {
		c.refused++
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	var got transactionOnChain
	if err := errors.Join(c.verify(r, body), json.Unmarshal(body, &got)); err != nil {
		c.unfit = append(c.unfit, fmt.Sprintf("%s %s with %v and %q: %v", r.Method, r.URL, r.Header, body, err))
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	c.taken = append(c.taken, got)
	if c.forgetful {
		c.forgetful = false
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.WriteHeader(http.StatusCreated)
}

// verify reports whether a request is signed as Dragonchain's documentation says.
func (c *chain) verify(r *http.Request, body []byte) error {
	at, err := time.Parse("2006-01-02T15:04:05.999999Z", r.Header.Get("timestamp"))
	switch {
	case err != nil:
		return err
	case time.Since(at).Abs() > 10*time.Minute:
		return fmt.Errorf("the timestamp is of %v ago", time.Since(at))
	case r.Method != http.MethodPost, r.Header.Get("dragonchain") != chainID, r.Header.Get("Content-Type") != "application/json":
		return errors.New("this is not for this chain")
	case r.Header.Get("Authorization") != signed(r.Method, r.URL.RequestURI(), r.Header, body, c.keyID, c.key):
		return errors.New("the signature does not fit")
	}
	return nil
}

// signed is the Authorization of a request with these headers, by DC1-HMAC-SHA256.
func signed(method, path string, header http.Header, body []byte, keyID, key string) string {
	sum := sha256.Sum256(body)
	mac := hmac.New(sha256.New, []byte(key))
	fmt.Fprintf(mac, "%s\n%s\n%s\n%s\n%s\n%s", method, path, header.Get("dragonchain"), header.Get("timestamp"), header.Get("Content-Type"),
		base64.StdEncoding.EncodeToString(sum[:]))
	return "DC1-HMAC-SHA256 " + keyID + ":" + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// refuse has it take nothing, or take it again.
func (c *chain) refuse(yes bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refusing = yes
}

// awaitRefused waits until it has refused so many more than it had.
func (c *chain) awaitRefused(t *testing.T, more int) {
	t.Helper()
	c.mu.Lock()
	before := c.refused
	c.mu.Unlock()
	eventually(t, "the chain is tried and refuses", func() (bool, string) {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.refused >= before+more, fmt.Sprintf("%d were refused, %d before", c.refused, before)
	})
}

// of are the transactions of a type that were taken, in the order in which they came.
func (c *chain) of(name string) []transactionOnChain {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(c.taken), func(t transactionOnChain) bool { return t.Header.TxnType != name })
}

// await waits until it has taken so many transactions of a type, each counted once, and returns these; twice are those that came again.
func (c *chain) await(t *testing.T, name string, want int) (first, twice []transactionOnChain) {
	t.Helper()
	eventually(t, fmt.Sprintf("the chain has %d transactions of %s", want, name), func() (bool, string) {
		first, twice = nil, nil
		for _, got := range c.of(name) {
			if slices.ContainsFunc(first, func(f transactionOnChain) bool { return f.Header.TxnID == got.Header.TxnID }) {
				twice = append(twice, got)
			} else {
				first = append(first, got)
			}
		}
		return len(first) >= want, fmt.Sprintf("%+v", c.of(name))
	})
	return first, twice
}

// TestChain_Output has contracts' answers reach a chain, and only those that are to.
func TestChain_Output(t *testing.T) {
	c := startChain(t)
	quiet := deploy(t, contract(parrot()))
	f := deploy(t, annotate(contract(parrot()), annotationChain, "true"))
	quiet.call(t, `{"txn":1}`).is(t, "a contract that asks for no chain", http.StatusOK)
	answer := `{"header":{"txn_type":"` + f.name + `","dc_id":"d","txn_id":"0-1","block_id":null,"timestamp":"7","tag":"given","invoker":""},"payload":{}%s}`
	for _, a := range []string{
		`{"kept":"off","OUTPUT_TO_CHAIN":false}`,
		`{"a": 1.0, "tag": "mine"}`,
		fmt.Sprintf(answer, ""),
		fmt.Sprintf(answer, `,"tag":"own"`),
		"bacon\n",
	} {
		f.call(t, a).is(t, "call", http.StatusOK)
	}
	wantHeap(t, f, map[string]string{"kept": `"off"`, "OUTPUT_TO_CHAIN": "false"})
	got, _ := c.await(t, f.name, 4)
	want := []struct{ payload, tag, invoker string }{
		{`{"a":1.0}`, "mine", ""},
		{fmt.Sprintf(answer, ""), "given", "0-1"},
		{fmt.Sprintf(answer, ""), "own", "0-1"},
		{`{"rawResponse":"bacon\n"}`, "", ""},
	}
	slices.SortFunc(got, func(a, b transactionOnChain) int { // a parallel contract's come in any order
		return strings.Compare(a.Payload+a.Header.Tag, b.Payload+b.Header.Tag)
	})
	for i, w := range want {
		g := got[i]
		if g.Payload != w.payload || g.Header.Tag != w.tag || w.invoker != "" && g.Header.Invoker != w.invoker {
			t.Errorf("transaction %d is %+v, want %+v", i, g, w)
		}
		if g.Version != "2" || g.DCRN != "Transaction::L1::FullTransaction" || len(g.Header.TxnID) != 36 || g.Header.Timestamp == "" || g.Header.BlockID != nil {
			t.Errorf("transaction %d is %+v", i, g)
		}
	}
	if len(c.of(f.name)) != 4 || len(c.of(quiet.name)) != 0 {
		t.Errorf("the chain got %+v and %+v", c.of(f.name), c.of(quiet.name))
	}
}

// TestChain_Kill ends the provider with SIGKILL while a chain takes nothing and a serial contract's answers wait for it. When the chain
// takes them it gets each, in the order of their commits, and one that it did not confirm again with the same id. It runs alone:
// nobody is served meanwhile.
func TestChain_Kill(t *testing.T) {
	c := startChain(t)
	f := deploy(t, annotate(annotate(contract(python()), "com.dragonchain.execution-order", "serial"), annotationChain, "true"))
	c.refuse(true)
	ids := []string{"first"}
	f.call(t, enter("first")).is(t, "call", http.StatusOK) // its id is the provider's
	send := func(n int) {
		for range n {
			id := fmt.Sprintf("call-%02d", len(ids))
			f.later(t, id, enter(id), nil).is(t, "async call", http.StatusAccepted)
			ids = append(ids, id)
		}
	}
	c.awaitRefused(t, 1)
	send(8)
	process, ok := providerProcess(t)
	if !ok {
		t.Fatal("the provider's process is not on this machine: run the tests by make test-e2e")
	}
	if err := syscall.Kill(process, syscall.SIGKILL); err != nil {
		t.Fatalf("kill the provider, process %d: %v", process, err)
	}
	awaitProvider(t, process)
	send(4)
	c.awaitRefused(t, 1)
	if got := c.of(f.name); len(got) > 0 {
		t.Errorf("the chain has taken %+v, and took nothing", got)
	}
	c.mu.Lock()
	c.refusing, c.forgetful = false, true
	c.mu.Unlock()

	first, twice := c.await(t, f.name, len(ids))
	f.awaitKeys(t, "log/", len(ids))
	for n, got := range first {
		entry := fmt.Sprintf("log/%06d", n+1)
		want := fmt.Sprintf(`{"n":%d,"%s":"%s"}`, n+1, entry, ids[n])
		if got.Payload != want || n > 0 && got.Header.Invoker != ids[n] {
			t.Errorf("transaction %d is of call %s with %s, want %s", n+1, got.Header.Invoker, got.Payload, want)
		}
	}
	if len(first) != len(ids) || len(twice) == 0 || twice[0].Payload != first[0].Payload {
		t.Errorf("%d transactions of %d calls, and again %+v", len(first), len(ids), twice)
	}
	f.awaitDead(t, 0)
}
