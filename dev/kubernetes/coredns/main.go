// Command coredns is CoreDNS with only the plugins that the dev cluster's Corefile names. The stock set brings the SDKs
// of three clouds and minutes of compiling; none of them could reach its cloud from here.
package main

import (
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/template"
)

func main() { coremain.Run() }
