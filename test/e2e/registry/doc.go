// Package registry runs a real container registry for the tests: distribution, in this process, its blobs in memory.
//
// What is below open/ anybody may pull and push; everything else asks for a user and a password, as a private repository of
// a public registry does:
//
//	/v2/open/...   no credentials
//	/v2/...        basic auth, checked against an htpasswd file
//
// Start listens before it returns, so an image can be pushed at once. Close ends the server and drops all images.
package registry
