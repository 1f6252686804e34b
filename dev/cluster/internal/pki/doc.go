// Package pki makes the keys and certificates of a dev cluster.
//
// One authority signs everything: the API server's certificate, those of the kubelets, and the client certificates by which
// the components and the administrator are known. Service-account tokens are signed by a key pair of their own.
//
// Ensure makes what is missing and leaves what is there, so a restart keeps every identity; a half-made set is completed.
// All keys are ECDSA P-256: making a dozen RSA keys would cost seconds.
package pki
