package invoke

import (
	"context"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// LetLocal lets callbacks go to the tests' receivers, which are on this machine.
func (i *Invoker) LetLocal() { i.receivers.local = true }

// Tick is one look at the clock.
func (i *Invoker) Tick(ctx context.Context, now time.Time) { i.tick(ctx, now) }

// Latest is the tick that a schedule has between two times.
func Latest(s function.Schedule, last, now time.Time) (time.Time, error) {
	t, err := parseSchedule(s)
	if err != nil {
		return time.Time{}, err
	}
	return t.latest(last, now), nil
}

// CheckCallback is what is said of a callback's URL.
func CheckCallback(c Callbacks, url string) error {
	r, err := c.compile()
	if err != nil {
		return err
	}
	return r.check(url)
}

// LetLocalNot undoes LetLocal.
func (i *Invoker) LetLocalNot() { i.receivers.local = false }

// Deliver makes one attempt at a message.
func (i *Invoker) Deliver(ctx context.Context, m Message) error { return i.deliver(ctx, m) }

// OutputPayload is what of an answer goes on the chain.
func OutputPayload(text string) (payload string, tag *string, report bool, err error) {
	return outputPayload([]byte(text))
}
