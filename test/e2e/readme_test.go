package e2e

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// readme returns the commands of the README's block that begins with this, for the contract that they name balance there.
func readme(t *testing.T, begin string, f function) []string {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, found := strings.Cut(string(text), "```sh\n"+begin)
	block, _, ended := strings.Cut(begin+block, "\n```")
	if !found || !ended {
		t.Fatalf("the README has no block that begins with %q", begin)
	}
	return strings.Split(strings.ReplaceAll(block, "/heap/balance", "/heap/"+f.String()), "\n")
}

// shell runs commands as a user does, in a folder, and returns what they print. It fails the test if one fails.
func shell(t *testing.T, folder string, commands ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	sh := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", strings.Join(commands, "\n"))
	sh.Dir = folder
	sh.WaitDelay = 10 * time.Second
	var complaints strings.Builder // curl's progress among them
	sh.Stderr = &complaints
	out, err := sh.Output()
	if err != nil {
		t.Fatalf("%s:\n%s\n%s\n%v", strings.Join(commands, "\n"), out, complaints.String(), err)
	}
	return string(out)
}

// TestReadme_OperatorsView runs the README's commands on a heap: who wrote a key last, compare and set, how much there is, export and
// import.
func TestReadme_OperatorsView(t *testing.T) {
	t.Parallel()
	f := deploy(t, balanceSheet())
	deposit := transaction(t, map[string]any{"method": "deposit", "to": "alice", "amount": 20})
	gateway.ask(t, withCallID(f, "mine", "", deposit)).is(t, "deposit", http.StatusOK)
	commands := readme(t, "CURL=", f)
	variables, folder := commands[0], t.TempDir()
	run := func(begin string) string {
		t.Helper()
		for _, c := range commands {
			if strings.HasPrefix(c, begin) {
				return shell(t, folder, variables, c)
			}
		}
		t.Fatalf("no command of the README's begins with %q", begin)
		return ""
	}

	shown := run("$CURL -i")
	for _, want := range []string{"HTTP/1.1 200", "\r\nX-Heap-Call-Id: mine\r\n", "\r\nLast-Modified: ", "\r\n\r\n20"} {
		if !strings.Contains(strings.ReplaceAll(shown, "Etag", "ETag"), want) {
			t.Errorf("a key is shown as %q, without %q", shown, want)
		}
	}
	key := f.heapPath("account-alice")
	version := gateway.do(t, "GET", key, "").header.Get("ETag")
	if version == "" {
		t.Fatal("a key has no version")
	}
	for i, c := range commands {
		commands[i] = strings.ReplaceAll(c, `"42"`, version)
	}
	run("$CURL -X PUT")
	wantHeap(t, f, map[string]string{"account-alice": "100"})
	now := gateway.do(t, "GET", key, "")
	if now.header.Get("ETag") == version || now.header.Get("X-Heap-Call-Id") == "mine" {
		t.Errorf("after another write the headers are %v", now.header)
	}
	put := func(header http.Header, status int) {
		t.Helper()
		gateway.ask(t, request{method: "PUT", path: key, body: "7", header: header}).refused(t, "a write too late", status)
	}
	put(http.Header{"If-Match": {version}}, http.StatusPreconditionFailed)
	put(http.Header{"If-None-Match": {"*"}}, http.StatusPreconditionFailed)

	type entries struct {
		Entries []struct {
			Key, At string
			CallID  string `json:"call_id"`
			Bytes   int64
		}
	}
	history := map[string]string{}
	for _, e := range decode[entries](t, answer{body: run(`$CURL "$HEAP?view=entries"`)}).Entries {
		history[e.Key] = e.CallID
		if at, err := time.Parse(time.RFC3339, e.At); err != nil || time.Since(at).Abs() > time.Hour || e.Bytes == 0 {
			t.Errorf("entry %+v, %v", e, err)
		}
	}
	if history["last"] != "mine" || history["account-alice"] == "mine" || len(history) != 2 {
		t.Errorf("written last by %v", history)
	}
	run("$CURL -X DELETE")
	gateway.do(t, "GET", key, "").refused(t, "a deleted key", http.StatusNotFound)
	gateway.ask(t, request{method: "PUT", path: key, body: "7", header: http.Header{"If-None-Match": {"*"}}}).is(t, "a new key", http.StatusNoContent)
	type usage struct {
		Keys, Bytes int64
		Quota       int64 `json:"quota_bytes"`
	}
	used := decode[usage](t, answer{body: run(`$CURL "$HEAP?view=usage"`)})
	if want := int64(len("account-alice7last") + len(f.heap(t, "last"))); used != (usage{2, want, 64 << 20}) {
		t.Errorf("usage %+v, want 2 keys of %d bytes", used, want)
	}

	run(`$CURL "$HEAP?view=export"`)
	f.call(t, transaction(t, map[string]any{"method": "deposit", "to": "alice", "amount": 1})).is(t, "deposit", http.StatusOK)
	wantHeap(t, f, map[string]string{"account-alice": "8"})
	if said := run("$CURL --data-binary"); said != `{"imported":2}` {
		t.Errorf("the import says %q", said)
	}
	wantHeap(t, f, map[string]string{"account-alice": "7"})
}

// TestReadme_Restore runs the README's commands: a backup is taken while contracts run, and taken back. What was committed later is
// gone, and the provider goes on from there. It stops the provider, so it runs alone, where that takes least.
func TestReadme_Restore(t *testing.T) {
	if installedWith(t, "--successor-wait") != "0s" {
		t.Skip("a provider that goes waits for another: make test-e2e has it not wait in a pass of its own")
	}
	installedWith(t, "--store")
	f := deploy(t, contract(scripted()))
	before := gateway.ask(t, withCallID(f, "before", "", effect("before"))).is(t, "call", http.StatusOK)
	process, ok := providerProcess(t)
	if !ok {
		t.Fatal("the provider's process is not on this machine: run the tests by make test-e2e")
	}
	variables, folder := readme(t, "CURL=", f)[0], t.TempDir()
	commands := readme(t, "$CURL -o heap.db", f)
	shell(t, folder, variables, commands[0])
	gateway.ask(t, withCallID(f, "after", "", effect("after"))).is(t, "call", http.StatusOK)
	t.Cleanup(func() {
		if t.Failed() { // the others need one
			scale := `{"spec":{"replicas":1}}`
			if _, err := cluster.AppsV1().Deployments(providerNamespace).Patch(context.WithoutCancel(t.Context()), "dc-provider",
				types.MergePatchType, []byte(scale), metav1.PatchOptions{}); err != nil {
				t.Error(err)
			}
		}
	})
	began := time.Now()
	t.Log(shell(t, folder, commands[1:]...))
	awaitProvider(t, process)
	t.Logf("away for %v", time.Since(began).Round(time.Second))

	if keys := f.heapKeys(t, ""); len(keys) != 1 || keys[0] != effectKey(before.body) {
		t.Errorf("the heap has %q, and had %q", keys, before.body)
	}
	again := gateway.ask(t, withCallID(f, "before", "", effect("before"))).is(t, "repeat", http.StatusOK)
	if again.body != before.body || again.header.Get("X-Call-Replayed") != "true" {
		t.Errorf("a repeat of what the backup has is answered %q with %v", again.body, again.header)
	}
	gateway.ask(t, withCallID(f, "after", "", effect("after"))).is(t, "repeat of what it has not", http.StatusOK)
	if keys := f.heapKeys(t, "after/"); len(keys) != 1 {
		t.Errorf("a call that was forgotten has the effects %q", keys)
	}
}
