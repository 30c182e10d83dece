// Command kubeadm is Kubernetes' own, linked from its Go module.
package main

import (
	"k8s.io/kubernetes/cmd/kubeadm/app"
	kerrors "k8s.io/kubernetes/cmd/kubeadm/app/util/errors"
)

func main() { kerrors.HandleError(app.Run()) }
