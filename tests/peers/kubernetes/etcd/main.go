// Command etcd: the store behind the kube-apiserver of the end-to-end tests, compiled from its own module.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
