#!/usr/bin/env bash
# Says how to go on after `make up`.
source "$(dirname "$0")/lib.sh"

cat <<TEXT

The provider runs. In a shell:

  . .dev/env
  printf %s "\$OPENFAAS_PASSWORD" | faas-cli login --gateway "\$OPENFAAS_URL" --username "\$OPENFAAS_USER" --password-stdin
  faas-cli list --gateway "\$OPENFAAS_URL"
  curl -d 'hello' "\$OPENFAAS_URL/function/cowsay"

kubectl and helm are in .dev/bin. make exec CMD='...' runs a command inside the cluster's network. make down ends it all.
TEXT
