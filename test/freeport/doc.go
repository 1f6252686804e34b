// Package freeport gives tests TCP ports for servers that are told theirs before they listen.
//
// Packages are tested at the same time, in processes of their own. A port that was free a moment ago may then be somebody else's: the
// kernel gives it to a connection, or another test has found it as well. So these are below the ports that the kernel gives (32768
// and up, unless a machine says otherwise), and whoever has one also has an abstract unix socket of its name until the test ends, which
// like the port is there once in a network namespace, and goes with the process however that ends.
package freeport
