// Package cgroup makes and removes control groups, in every hierarchy of version 1 or in the one of version 2.
//
// The kubelet wants to find the group that it is to work under, and makes only what is below. What it and the containers leave
// there when they are killed stays until Remove: an empty group of a container that is no more makes the next kubelet wait
// three seconds for that container.
package cgroup
