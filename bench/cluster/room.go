package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/dragonchain/dc-provider/bench/scenario"
)

const (
	// roomName is the namespace that the scenarios of wakes have to themselves, and delete.
	roomName       = "dc-bench"
	annotationPool = "com.dragonchain.pool.size"
	selectSpares   = "dragonchain.com/spare"
	// roomLimit is how long a namespace with 10,000 records may take to go.
	roomLimit = 3 * time.Minute
	// quietBefore is how long the cluster is left alone before a wake: a spare that starts would share the node with it.
	quietBefore = 500 * time.Millisecond
)

// room is a namespace of its own for a scenario.
type room struct {
	*target
}

// newRoom takes a target, which is nil if there is no cluster.
func newRoom(t *target) *room {
	if t == nil {
		return &room{}
	}
	own := *t
	own.namespace = roomName
	return &room{target: &own}
}

// in makes s one that happens in the room, with prepare once the namespace is there.
func (r *room) in(s *scenario.Scenario, spares int, prepare func(context.Context) error) *scenario.Scenario {
	s.Before = func(ctx context.Context) (func(context.Context) error, error) {
		// What a run left that was killed.
		if err := r.remove(ctx); err != nil {
			return nil, err
		}
		_, err := r.send(ctx, http.MethodPost, "/system/namespace/"+r.namespace,
			fmt.Appendf(nil, `{"name":%q,"annotations":{%q:"%d"}}`, r.namespace, annotationPool, spares), http.StatusCreated)
		if err == nil && prepare != nil {
			err = prepare(ctx)
		}
		if err != nil {
			return nil, errors.Join(err, r.remove(context.WithoutCancel(ctx)))
		}
		return r.remove, nil
	}
	return s
}

// remove deletes the namespace and all that is in it, and returns when it is gone.
func (r *room) remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, roomLimit)
	defer cancel()
	namespaces := r.cluster.CoreV1().Namespaces()
	err := namespaces.Delete(ctx, r.namespace, metav1.DeleteOptions{})
	for ; !apierrors.IsNotFound(err); _, err = namespaces.Get(ctx, r.namespace, metav1.GetOptions{}) {
		if err != nil {
			return fmt.Errorf("delete namespace %s: %w", r.namespace, err)
		}
		if err := pause(ctx, 10*pollEvery); err != nil {
			return fmt.Errorf("namespace %s is not gone: %w", r.namespace, err)
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// spares has the room's pool be of a size.
func (r *room) spares(ctx context.Context, n int) error {
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:"%d"}}}`, annotationPool, n)
	_, err := r.cluster.CoreV1().Namespaces().Patch(ctx, r.namespace, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

// settle returns when all spares that are to be there wait, no other pod comes or goes, and that has been so for a while.
func (r *room) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lifeLimit)
	defer cancel()
	namespace, err := r.cluster.CoreV1().Namespaces().Get(ctx, r.namespace, metav1.GetOptions{})
	if err != nil {
		return err
	}
	size, err := strconv.Atoi(namespace.Annotations[annotationPool])
	if err != nil {
		return err
	}
	for settled := time.Now(); ; {
		list, err := r.cluster.CoreV1().Pods(r.namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		up, still := 0, true
		for i := range list.Items {
			pod := &list.Items[i]
			still = still && pod.Status.Phase == corev1.PodRunning && pod.DeletionTimestamp == nil
			if _, is := pod.Labels[selectSpares]; is && pod.Status.Phase == corev1.PodRunning {
				up++
			}
		}
		if up != size || !still {
			settled = time.Now()
		}
		if time.Since(settled) >= quietBefore {
			return nil
		}
		if err := pause(ctx, 2*pollEvery); err != nil {
			return fmt.Errorf("%d of %d spares in namespace %s, does the provider keep a warm pool?: %w", up, size, r.namespace, err)
		}
	}
}

// up deploys functions, calls each and has it answer, and sends it to zero.
func (r *room) up(ctx context.Context, functions map[string]kind) error {
	ctx, cancel := context.WithTimeout(ctx, lifeLimit)
	defer cancel()
	for name, k := range functions {
		if err := r.deploy(ctx, k, name); err != nil {
			return err
		}
		if err := r.call(ctx, name); err != nil {
			return err
		}
		if err := r.scaleToZero(ctx, name); err != nil {
			return err
		}
	}
	return nil
}
