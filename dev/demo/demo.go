package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/openfaas/faas-provider/types"
)

// demo shows the examples one after the other.
type demo struct {
	*platform
	out io.Writer
}

func (d demo) say(format string, args ...any) {
	fmt.Fprintf(d.out, format+"\n", args...)
}

func (d demo) deploy(ctx context.Context, functions []types.FunctionDeployment) error {
	for _, f := range functions {
		if err := d.platform.deploy(ctx, f); err != nil {
			return err
		}
		d.say("deployed %-10s %s", f.Service, f.Image)
	}
	return nil
}

// show invokes a function, prints what it answered, and checks that the answer holds what it should.
func (d demo) show(ctx context.Context, name string, body []byte, contains string) (string, error) {
	start := time.Now()
	answer, err := d.invoke(ctx, name, body, http.StatusOK)
	if err != nil {
		return "", err
	}
	d.say("\n%s, after %.1f s:\n%s", name, time.Since(start).Seconds(), strings.TrimRight(answer, "\n"))
	if !strings.Contains(answer, contains) {
		return "", fmt.Errorf("invoke %q: the answer lacks %q", name, contains)
	}
	return answer, nil
}

func (d demo) hello(ctx context.Context) error {
	_, err := d.show(ctx, "hello", nil, "Hello from a Go function")
	return err
}

func (d demo) lambda(ctx context.Context) error {
	_, err := d.show(ctx, "lambda", []byte(`{"name":"Ada"}`), "Hello, Ada")
	return err
}

func (d demo) shell(ctx context.Context) error {
	body, err := newTransaction("shell", map[string]any{"note": "read line by line"})
	if err != nil {
		return err
	}
	_, err = d.show(ctx, "shell", body, "read line by line")
	return err
}

// balance moves money and compares the heap with what it should hold then.
func (d demo) balance(ctx context.Context) error {
	want := map[string]int{}
	for _, account := range []string{"alice", "bob"} {
		held, err := d.held(ctx, account)
		if err != nil {
			return err
		}
		want[account] = held
	}
	if err := d.move(ctx, map[string]any{"method": "deposit", "to": "alice", "amount": 20}, "account-alice"); err != nil {
		return err
	}
	if err := d.move(ctx, map[string]any{"method": "transfer", "from": "alice", "to": "bob", "amount": 5}, "account-bob"); err != nil {
		return err
	}
	want["alice"] += 20 - 5
	want["bob"] += 5
	if err := d.overdraw(ctx); err != nil {
		return err
	}
	for account, amount := range want {
		held, err := d.held(ctx, account)
		if err != nil {
			return err
		}
		if held != amount {
			return fmt.Errorf("heap of \"balance\": %s holds %d, want %d", account, held, amount)
		}
	}
	return d.sheet(ctx)
}

func (d demo) move(ctx context.Context, payload map[string]any, contains string) error {
	body, err := newTransaction("balance", payload)
	if err != nil {
		return err
	}
	_, err = d.show(ctx, "balance", body, contains)
	return err
}

// overdraw sends a transaction that the contract refuses, which must change nothing.
func (d demo) overdraw(ctx context.Context) error {
	payload := map[string]any{"method": "transfer", "from": "bob", "to": "alice", "amount": 1 << 40}
	body, err := newTransaction("balance", payload)
	if err != nil {
		return err
	}
	if _, err := d.invoke(ctx, "balance", body, http.StatusInternalServerError); err != nil {
		return err
	}
	d.say("\nbalance refuses to overdraw an account: status %d, nothing committed", http.StatusInternalServerError)
	return nil
}

// held returns what the heap says an account holds; nothing if it does not know the account.
func (d demo) held(ctx context.Context, account string) (int, error) {
	value, found, err := d.heapValue(ctx, "balance", "account-"+account)
	if err != nil || !found {
		return 0, err
	}
	var amount int
	if err := json.Unmarshal([]byte(value), &amount); err != nil {
		return 0, fmt.Errorf("heap of \"balance\": account-%s=%q: %w", account, value, err)
	}
	return amount, nil
}

// sheet prints the whole balance sheet from the heap.
func (d demo) sheet(ctx context.Context) error {
	keys, err := d.heapKeys(ctx, "balance", "account-")
	if err != nil {
		return err
	}
	d.say("\nthe balance sheet, read back from the heap:")
	for _, key := range keys {
		value, found, err := d.heapValue(ctx, "balance", key)
		if err != nil {
			return err
		}
		if !found {
			return fmt.Errorf("heap of \"balance\": key %q is listed and not found", key)
		}
		d.say("  %-24s %s", key, value)
	}
	return nil
}

func (d demo) cowsay(ctx context.Context) error {
	body, err := newTransaction("cowsay", map[string]any{"moo": "I am a smart contract"})
	if err != nil {
		return err
	}
	if _, err := d.show(ctx, "cowsay", body, "(__)\\       )\\/\\"); err != nil {
		return err
	}
	_, found, err := d.heapValue(ctx, "cowsay", "rawResponse")
	if err == nil && !found {
		err = fmt.Errorf("heap of \"cowsay\": what the cow said is not there")
	}
	return err
}
