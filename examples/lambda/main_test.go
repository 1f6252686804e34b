package main

import (
	"strings"
	"testing"
)

func TestGreet(t *testing.T) {
	if a, err := greet(t.Context(), event{Name: "Ada"}); err != nil || a.Greeting != "Hello, Ada" {
		t.Errorf("%+v, %v", a, err)
	}
	if _, err := greet(t.Context(), event{}); err == nil || !strings.Contains(err.Error(), "name") {
		t.Errorf("without a name: %v", err)
	}
}
