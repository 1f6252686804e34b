#!/usr/bin/env bash
# Deploys the examples and invokes them.
source "$(dirname "$0")/lib.sh"

step "deploying and invoking the examples"
eval "$(dev/env.sh)"
go run -C dev/demo . -examples "$root/examples"
