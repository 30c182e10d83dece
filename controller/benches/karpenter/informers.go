package main

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "sigs.k8s.io/karpenter/pkg/apis/v1"
)

// informers answer from memory what the controller's would; the fake client would convert every object at each question, which
// would be held against the reference. What they give away are copies, as the real ones'.
type informers struct {
	client.Client
	pools  []*v1.NodePool
	sets   []*appsv1.DaemonSet
	nodes  map[string]*corev1.Node
	pods   []*corev1.Pod
	byNode map[string][]*corev1.Pod
}

func (i *informers) add(pod *corev1.Pod) {
	i.pods = append(i.pods, pod)
	i.byNode[pod.Spec.NodeName] = append(i.byNode[pod.Spec.NodeName], pod)
}

func (i *informers) Get(ctx context.Context, key client.ObjectKey, object client.Object, opts ...client.GetOption) error {
	if node, ok := object.(*corev1.Node); ok && i.nodes[key.Name] != nil {
		i.nodes[key.Name].DeepCopyInto(node)
		return nil
	}
	return i.Client.Get(ctx, key, object, opts...)
}

func (i *informers) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	var asked client.ListOptions
	asked.ApplyOptions(opts)
	switch list := list.(type) {
	case *corev1.PodList:
		i.listPods(list, &asked)
	case *v1.NodePoolList:
		for _, pool := range i.pools {
			list.Items = append(list.Items, *pool.DeepCopy())
		}
	case *appsv1.DaemonSetList:
		for _, set := range i.sets {
			list.Items = append(list.Items, *set.DeepCopy())
		}
	case *policyv1.PodDisruptionBudgetList:
	default:
		return i.Client.List(ctx, list, opts...)
	}
	return nil
}

func (i *informers) listPods(list *corev1.PodList, asked *client.ListOptions) {
	pods := i.pods
	if asked.FieldSelector != nil {
		if node, ok := asked.FieldSelector.RequiresExactMatch("spec.nodeName"); ok {
			pods = i.byNode[node]
		}
	}
	for _, pod := range pods {
		elsewhere := asked.Namespace != "" && asked.Namespace != pod.Namespace
		if !elsewhere && (asked.LabelSelector == nil || asked.LabelSelector.Matches(labelsOf(pod))) {
			list.Items = append(list.Items, *pod.DeepCopy())
		}
	}
}
