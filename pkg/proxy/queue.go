package proxy

// queue holds the calls of one function that wait, in the order in which they came. It is a list through the calls
// themselves, so that a call leaves from the middle at no cost and waiting takes no memory of its own. Its activity's mu
// guards it.
type queue struct {
	first, last *call
	length      int
}

// insert puts a call at its place. A call that was at an endpoint, which refused it, comes back to where it was: it came
// before all who wait.
func (q *queue) insert(c *call) {
	before := q.last
	for before != nil && before.came.After(c.came) {
		before = before.previous
	}
	c.previous = before
	if before == nil {
		c.next, q.first = q.first, c
	} else {
		c.next, before.next = before.next, c
	}
	if c.next == nil {
		q.last = c
	} else {
		c.next.previous = c
	}
	c.queued = true
	q.length++
}

func (q *queue) remove(c *call) {
	if c.previous == nil {
		q.first = c.next
	} else {
		c.previous.next = c.next
	}
	if c.next == nil {
		q.last = c.previous
	} else {
		c.next.previous = c.previous
	}
	c.previous, c.next, c.queued = nil, nil, false
	q.length--
}
