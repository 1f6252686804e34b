package main

import (
	"context"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/dragonchain/dc-provider/dev/images/rootfs"
)

// recipe says what an image is made of.
type recipe struct {
	// name is repository and tag.
	name string
	// packages of Debian go in with all that they depend on, except those called leaveOut.
	packages, leaveOut []string
	// files of this repository go in as they are.
	files []file
	// binaries are Go programs of this repository, compiled for the image: path in the image to the package's folder. One that has
	// a go.mod is a module of its own.
	binaries map[string]string
	// dirs are empty directories that belong to the image's user.
	dirs []string
	// finish, if set, does what the packages' maintainer scripts would have done.
	finish func(context.Context, *rootfs.Tree) error
	// config is what the image says about running it.
	config v1.Config
}

// file is a file of the repository in an image.
type file struct {
	path string // in the image
	from string // in the repository, or absolute
	mode int64
	// hint says how to make the file if it is missing. Empty: it is part of the repository.
	hint string
}

const (
	providerUser = "65532:65532"
	functionUser = "1000:1000"
)

// recipes returns every image the dev cluster needs.
func recipes() []recipe {
	return []recipe{provider(), hello(), shell(), cowsay(), balance(), lambda()}
}

// provider holds both of our programs: the watchdog is copied out of it into the functions' pods.
func provider() recipe {
	return recipe{
		name: "dragonchain/dc-provider:dev",
		files: append([]file{
			{path: "/dc-provider", from: "bin/dc-provider", mode: 0o755, hint: "make build"},
			{path: "/dc-watchdog", from: "bin/dc-watchdog", mode: 0o755, hint: "make build"},
		}, certificates()...),
		dirs: []string{"/tmp", "/var/lib/dc-provider"},
		config: v1.Config{
			Entrypoint: []string{"/dc-provider"},
			User:       providerUser,
			WorkingDir: "/",
			Env:        []string{"PATH=/"},
		},
	}
}

// certificates returns the machine's bundle of certificate authorities, if it has one in a usual place: the provider needs it to
// ask registries for digests. Without a bundle it can still ask registries that speak plain HTTP.
func certificates() []file {
	for _, bundle := range []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"} {
		if _, err := os.Stat(bundle); err == nil {
			return []file{{path: "/etc/ssl/certs/ca-certificates.crt", from: bundle, mode: 0o644}}
		}
	}
	return nil
}

func hello() recipe {
	return recipe{
		name:     "dragonchain/example-hello:dev",
		binaries: map[string]string{"/hello": "./examples/hello"},
		dirs:     []string{"/tmp"},
		config: v1.Config{
			Entrypoint:   []string{"/hello"},
			User:         functionUser,
			WorkingDir:   "/",
			ExposedPorts: map[string]struct{}{"8080/tcp": {}},
		},
	}
}

// lambda is made as Lambda images are: the program, and nothing that listens.
func lambda() recipe {
	return recipe{
		name:     "dragonchain/example-lambda:dev",
		binaries: map[string]string{"/var/task/bootstrap": "./examples/lambda"},
		dirs:     []string{"/tmp"},
		config: v1.Config{
			Entrypoint: []string{"/var/task/bootstrap"},
			Cmd:        []string{"greet"},
			User:       functionUser,
			WorkingDir: "/var/task",
			Env:        []string{"LAMBDA_TASK_ROOT=/var/task"},
		},
	}
}

func shell() recipe {
	return recipe{
		name:     "dragonchain/example-shell:dev",
		packages: []string{"busybox-static"},
		files:    []file{{path: "/contract.sh", from: "examples/shell/contract.sh", mode: 0o755}},
		dirs:     []string{"/tmp"},
		finish:   linkApplets,
		config: v1.Config{
			Entrypoint: []string{"/contract.sh"},
			User:       functionUser,
			WorkingDir: "/",
			Env:        []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"},
		},
	}
}

// cowsay is the package and nothing of ours: a contract that was never written to be one.
func cowsay() recipe {
	return recipe{
		name:     "dragonchain/example-cowsay:dev",
		packages: []string{"cowsay", "libc-bin"}, // libc-bin has the locale C.UTF-8
		leaveOut: installers,
		dirs:     []string{"/tmp"},
		config: v1.Config{
			Entrypoint: []string{"/usr/games/cowsay"},
			User:       functionUser,
			WorkingDir: "/",
			Env:        []string{"PATH=/usr/games:/usr/bin:/bin", "LANG=C.UTF-8"},
		},
	}
}

func balance() recipe {
	return recipe{
		name:     "dragonchain/example-balance:dev",
		packages: []string{"python3-minimal", "libpython3-stdlib", "libc-bin"},
		leaveOut: installers,
		files:    []file{{path: "/contract/balance.py", from: "examples/balance/balance.py", mode: 0o755}},
		dirs:     []string{"/tmp"},
		finish:   compileImports("/contract/balance.py"),
		config: v1.Config{
			// -I and -S: neither the environment nor site-packages change what runs, and start is quicker.
			Entrypoint: []string{"/usr/bin/python3", "-I", "-S", "/contract/balance.py"},
			User:       functionUser,
			WorkingDir: "/",
			Env:        []string{"PATH=/usr/bin:/bin", "LANG=C.UTF-8"},
		},
	}
}

// installers are packages that others need only to be installed by dpkg: their maintainer scripts would call them.
var installers = []string{"dpkg", "tar"}
