package http1

import (
	"net"
	"runtime"
	"testing"
)

// An end that comes while one exchange makes room for the next ends the next.
func TestConn_AbortBetweenTwoExchanges(t *testing.T) {
	ln := listen(t)
	defer ln.Close()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	accepted, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	s, err := NewServer(ServerConfig{Handler: echo})
	if err != nil {
		t.Fatal(err)
	}
	for range 2000 {
		c, err := newConn(s, accepted.(*net.TCPConn))
		if err != nil {
			t.Fatal(err)
		}
		c.word.Store(uint64(phaseBusy))
		running, ended := make(chan struct{}), make(chan struct{})
		go func() { // what serve does with the word, without the requests
			defer close(ended)
			for n := 0; ; n++ {
				word := c.word.Load()
				if causeOf(word) != alive || phaseOf(word) != phaseBusy || n == 1_000_000 {
					return
				}
				c.word.CompareAndSwap(word, (word+nextWord)&^0xff|uint64(phaseBusy))
				if n == 0 {
					close(running)
				}
				if n%16 == 0 {
					runtime.Gosched()
				}
			}
		}()
		<-running
		c.abort()
		if word := c.word.Load(); causeOf(word) == alive {
			t.Fatalf("the exchange that is under way when abort has returned goes on: word %#x", word)
		}
		<-ended
	}
}
