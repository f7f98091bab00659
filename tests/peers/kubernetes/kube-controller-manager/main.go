// Command kube-controller-manager: the real controllers behind Deployments, Services and CronJobs of the tests of the packages.
package main

import (
	"os"

	_ "time/tzdata" // a machine without a time-zone database runs it too

	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	"k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

func main() { os.Exit(cli.Run(app.NewControllerManagerCommand())) }
