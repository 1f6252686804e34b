module github.com/dragonchain/dc-provider/dev/cluster

go 1.26

require golang.org/x/sys v0.41.0

require golang.org/x/sync v0.19.0
