// Package lambda tests the watchdog's mode lambda with functions built on the real github.com/aws/aws-lambda-go, which is why it is a
// module of its own: what a Lambda client is allowed to expect is best known to one. It builds the watchdog and the function in folder
// function, and calls the one around the other over HTTP.
package lambda
