// Package postgrestest runs a real PostgreSQL server for tests, from the programs that Debian's package postgresql brings.
//
// A server is a child process of the test with its own folder, reached by a unix socket in it, and ends with the test. It
// can be killed and started again.
package postgrestest
