package main

import (
	"context"
	"fmt"
	"runtime"

	"github.com/samber/lo"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	fakeclient "sigs.k8s.io/controller-runtime/pkg/client/fake"

	v1 "sigs.k8s.io/karpenter/pkg/apis/v1"
	"sigs.k8s.io/karpenter/pkg/cloudprovider"
	fakecloud "sigs.k8s.io/karpenter/pkg/cloudprovider/fake"
	"sigs.k8s.io/karpenter/pkg/controllers/state"
	"sigs.k8s.io/karpenter/pkg/operator/options"
	karpenter "sigs.k8s.io/karpenter/pkg/scheduling"
	"sigs.k8s.io/karpenter/pkg/utils/daemonset"
	"sigs.k8s.io/karpenter/pkg/utils/nodepool"
)

// Input is what `sawhorse solve` reads, as far as the problems use it.
type Input struct {
	NodePools     []*v1.NodePool      `json:"nodePools"`
	InstanceTypes []InstanceType      `json:"instanceTypes"`
	Nodes         []Node              `json:"nodes"`
	Pods          []*corev1.Pod       `json:"pods"`
	DaemonSets    []*appsv1.DaemonSet `json:"daemonSets"`
	Options       struct {
		PreferencePolicy        string `json:"preferencePolicy"`
		SpotToSpotConsolidation bool   `json:"spotToSpotConsolidation"`
	} `json:"options"`
}

// InstanceType is one of the input's.
type InstanceType struct {
	Name     string              `json:"name"`
	Capacity corev1.ResourceList `json:"capacity"`
	Overhead struct {
		KubeReserved      corev1.ResourceList `json:"kubeReserved"`
		SystemReserved    corev1.ResourceList `json:"systemReserved"`
		EvictionThreshold corev1.ResourceList `json:"evictionThreshold"`
	} `json:"overhead"`
	Requirements []corev1.NodeSelectorRequirement `json:"requirements"`
	Offerings    []struct {
		Zone         string  `json:"zone"`
		CapacityType string  `json:"capacityType"`
		Price        float64 `json:"price"`
		Available    *bool   `json:"available"`
	} `json:"offerings"`
}

// Node is a node that exists, with its pods.
type Node struct {
	Node *corev1.Node  `json:"node"`
	Pods []*corev1.Pod `json:"pods"`
}

type world struct {
	client  client.Client
	cloud   *fakecloud.CloudProvider
	cluster *state.Cluster
	pools   []*v1.NodePool
	types   map[string][]*cloudprovider.InstanceType
	pods    []*corev1.Pod
	daemons []*corev1.Pod
}

func settings() *options.Options {
	return &options.Options{
		CPURequests: 1000, PreferencePolicy: options.PreferencePolicyRespect, MinValuesPolicy: options.MinValuesPolicyStrict,
		IgnoreDRARequests: true,
	}
}

func worldOf(ctx context.Context, input Input) (*world, error) {
	types := lo.Map(input.InstanceTypes, func(kind InstanceType, _ int) *cloudprovider.InstanceType { return kind.typed() })
	// What a provider states of its types is well known (spec core 2.7).
	for _, kind := range input.InstanceTypes {
		for _, requirement := range kind.Requirements {
			v1.WellKnownLabels.Insert(requirement.Key)
		}
	}
	cloud := fakecloud.NewCloudProvider()
	cloud.InstanceTypes = types
	w := &world{cloud: cloud, pods: input.Pods, pools: input.NodePools, types: map[string][]*cloudprovider.InstanceType{}}
	for index, pod := range w.pods {
		prepare(pod, fmt.Sprintf("pending-%d", index))
		pod.Status.Phase = corev1.PodPending
	}
	for _, pool := range w.pools {
		w.types[pool.Name] = types
		ready(pool)
	}
	nodepool.OrderByWeight(w.pools)
	w.daemons = lo.Map(input.DaemonSets, func(set *appsv1.DaemonSet, _ int) *corev1.Pod { return daemonset.PodForDaemonSet(set) })
	return w, w.exist(ctx, cloud, input)
}

// exist makes the nodes and what runs on them known to the cluster's state.
func (w *world) exist(ctx context.Context, cloud cloudprovider.CloudProvider, input Input) error {
	groupVersion := schema.GroupVersion{Group: "karpenter.sh", Version: "v1"}
	metav1.AddToGroupVersion(scheme.Scheme, groupVersion)
	scheme.Scheme.AddKnownTypes(groupVersion, &v1.NodePool{}, &v1.NodePoolList{}, &v1.NodeClaim{}, &v1.NodeClaimList{})
	known := &informers{
		Client: fakeclient.NewClientBuilder().WithScheme(scheme.Scheme).Build(),
		pools:  w.pools, sets: input.DaemonSets, nodes: map[string]*corev1.Node{}, byNode: map[string][]*corev1.Pod{},
	}
	claims := map[string]*v1.NodeClaim{}
	for _, own := range input.Nodes {
		claims[own.Node.Name] = initialize(own.Node)
		known.nodes[own.Node.Name] = own.Node
		for index, pod := range own.Pods {
			prepare(pod, fmt.Sprintf("%s-%d", own.Node.Name, index))
			pod.Spec.NodeName = own.Node.Name
			pod.Status.Phase = corev1.PodRunning
			known.add(pod)
		}
	}
	w.client = known
	w.cluster = state.NewCluster(clock.RealClock{}, w.client, cloud)
	for _, own := range input.Nodes {
		w.cluster.UpdateNodeClaim(claims[own.Node.Name])
		if err := w.cluster.UpdateNode(ctx, own.Node); err != nil {
			return err
		}
		for _, pod := range own.Pods {
			if err := w.cluster.UpdatePod(ctx, pod); err != nil {
				return err
			}
		}
	}
	return nil
}

func prepare(pod *corev1.Pod, uid string) {
	pod.UID = types.UID(uid)
	if pod.Namespace == "" {
		pod.Namespace = "default"
	}
}

func labelsOf(pod *corev1.Pod) labels.Set {
	return labels.Set(pod.Labels)
}

// ready makes a pool one that the fake cloud's nodes come from.
func ready(pool *v1.NodePool) {
	pool.Spec.Template.Spec.NodeClassRef = &v1.NodeClassReference{Group: "karpenter.test.sh", Kind: "TestNodeClass", Name: "default"}
	for _, condition := range []string{v1.ConditionTypeValidationSucceeded, v1.ConditionTypeNodeClassReady} {
		pool.StatusConditions().SetTrue(condition)
	}
}

// initialize makes a node Karpenter's own, ready and initialized.
func initialize(node *corev1.Node) *v1.NodeClaim {
	node.Labels[v1.NodeRegisteredLabelKey] = "true"
	node.Labels[v1.NodeInitializedLabelKey] = "true"
	node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	claim := &v1.NodeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: node.Name, Labels: node.Labels},
		Status: v1.NodeClaimStatus{
			ProviderID: node.Spec.ProviderID, NodeName: node.Name,
			Capacity: node.Status.Capacity, Allocatable: node.Status.Allocatable,
		},
	}
	for _, condition := range []string{v1.ConditionTypeLaunched, v1.ConditionTypeRegistered, v1.ConditionTypeInitialized, v1.ConditionTypeConsolidatable} {
		claim.StatusConditions().SetTrue(condition)
	}
	return claim
}

func (t InstanceType) typed() *cloudprovider.InstanceType {
	kind := &cloudprovider.InstanceType{
		Name:     t.Name,
		Capacity: t.Capacity,
		Overhead: &cloudprovider.InstanceTypeOverhead{
			KubeReserved: t.Overhead.KubeReserved, SystemReserved: t.Overhead.SystemReserved, EvictionThreshold: t.Overhead.EvictionThreshold,
		},
		Requirements: karpenter.NewNodeSelectorRequirements(t.Requirements...),
	}
	var zones, markets []string
	for _, own := range t.Offerings {
		available := own.Available == nil || *own.Available
		kind.Offerings = append(kind.Offerings, &cloudprovider.Offering{
			Price: own.Price, Available: available,
			Requirements: karpenter.NewLabelRequirements(map[string]string{
				corev1.LabelTopologyZone: own.Zone, v1.CapacityTypeLabelKey: own.CapacityType,
			}),
		})
		if available {
			zones, markets = append(zones, own.Zone), append(markets, own.CapacityType)
		}
	}
	kind.Requirements.Add(
		karpenter.NewRequirement(corev1.LabelInstanceTypeStable, corev1.NodeSelectorOpIn, t.Name),
		karpenter.NewRequirement(corev1.LabelTopologyZone, corev1.NodeSelectorOpIn, zones...),
		karpenter.NewRequirement(v1.CapacityTypeLabelKey, corev1.NodeSelectorOpIn, markets...),
	)
	return kind
}

func allocated() uint64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.TotalAlloc
}
