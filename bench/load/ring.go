package load

// ring is a queue that keeps its memory. The zero value is empty.
type ring[T any] struct {
	items []T
	first int
	count int
}

func (r *ring[T]) len() int { return r.count }

func (r *ring[T]) push(item T) {
	if r.count == len(r.items) {
		grown := make([]T, max(16, 2*r.count))
		for i := range r.count {
			grown[i] = r.items[(r.first+i)%len(r.items)]
		}
		r.items, r.first = grown, 0
	}
	r.items[(r.first+r.count)%len(r.items)] = item
	r.count++
}

func (r *ring[T]) peek() (item T, any bool) {
	if r.count == 0 {
		return item, false
	}
	return r.items[r.first], true
}

// pop takes the first of at least one.
func (r *ring[T]) pop() T {
	item := r.items[r.first]
	r.first = (r.first + 1) % len(r.items)
	r.count--
	return item
}
