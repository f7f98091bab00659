// Command kube-apiserver: the real API server whose tokens and JWKS the end-to-end tests use, compiled from its own module.
package main

import (
	"os"

	_ "time/tzdata" // a machine without a time-zone database runs it too

	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() { os.Exit(cli.Run(app.NewAPIServerCommand())) }
