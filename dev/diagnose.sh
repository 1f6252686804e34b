#!/usr/bin/env bash
# What one wants to see after a failed run, before the cluster goes.
source "$(dirname "$0")/lib.sh"

step "what the cluster looked like"
kubectl get nodes,pods,deployments,functions.openfaas.com -A -o wide || true
kubectl get events -A --sort-by=.lastTimestamp | tail -n 40 || true
kubectl logs -n openfaas deployment/dc-provider --tail=200 || true
