package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/samber/lo"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"

	v1 "sigs.k8s.io/karpenter/pkg/apis/v1"
	"sigs.k8s.io/karpenter/pkg/cloudprovider"
	"sigs.k8s.io/karpenter/pkg/controllers/disruption"
	"sigs.k8s.io/karpenter/pkg/controllers/provisioning"
	"sigs.k8s.io/karpenter/pkg/controllers/provisioning/scheduling"
	"sigs.k8s.io/karpenter/pkg/events"
	"sigs.k8s.io/karpenter/pkg/operator/injection"
	"sigs.k8s.io/karpenter/pkg/operator/options"
	karpenter "sigs.k8s.io/karpenter/pkg/scheduling"
)

// So many commands are carried out at most; each saves something, so that they come to an end by themselves.
const maxCommands = 1000

// Question is what is asked about a cluster that stands.
type Question struct {
	// Nodes of which each is looked at by itself.
	Sample []string `json:"sample"`
	// Whether to look for several nodes that could go together.
	Multi bool `json:"multi"`
	// Whether to carry commands out until there is none any more.
	Standstill bool `json:"standstill"`
}

// Disrupted is what the reference's disruption says.
type Disrupted struct {
	// By node: milliseconds, and what a command for it alone would save per hour.
	Single map[string]Look `json:"single"`
	Multi  Look            `json:"multi"`
	// At the standstill: what the nodes cost, how many there are, and what it took to get there.
	Price     float64 `json:"price"`
	Nodes     int     `json:"nodes"`
	Evictions int     `json:"evictions"`
	Commands  int     `json:"commands"`
	// Pods that lost their places.
	Homeless int `json:"homeless"`
	// What deciding took, without the making of worlds.
	Seconds float64 `json:"seconds"`
}

// Look is one question and its answer.
type Look struct {
	Millis float64 `json:"millis"`
	Saves  float64 `json:"saves"`
	// Nodes that would go.
	Nodes int `json:"nodes"`
}

// immediately takes a command as it is: nothing happens between finding and validating it, and the wait of 15 s is not measured.
type immediately struct{}

func (immediately) Validate(_ context.Context, command disruption.Command, _ time.Duration) (disruption.Command, error) {
	return command, nil
}

// controller is what the reference's disruption controller consists of.
type controller struct {
	*world
	queue   *disruption.Queue
	methods func() []disruption.Method
}

func controllerOf(w *world) *controller {
	recorder := events.NewRecorder(&record.FakeRecorder{})
	time := clock.RealClock{}
	provisioner := provisioning.NewProvisioner(w.client, recorder, w.cloud, w.cluster, time, nil, nil)
	queue := disruption.NewQueue(w.client, recorder, w.cluster, time, provisioner)
	// Made anew for each question: they do not look twice at a cluster in which they found nothing.
	methods := func() []disruption.Method {
		consolidation := disruption.MakeConsolidation(time, w.cluster, w.client, provisioner, w.cloud, recorder, queue)
		validator := disruption.WithValidator(immediately{})
		return []disruption.Method{
			disruption.NewEmptiness(consolidation, validator),
			disruption.NewMultiNodeConsolidation(consolidation, validator),
			disruption.NewSingleNodeConsolidation(consolidation, validator),
		}
	}
	return &controller{world: w, queue: queue, methods: methods}
}

func (c *controller) candidates(ctx context.Context, method disruption.Method) ([]*disruption.Candidate, error) {
	recorder := events.NewRecorder(&record.FakeRecorder{})
	return disruption.GetCandidates(ctx, c.cluster, c.client, recorder, clock.RealClock{}, c.cloud, method.ShouldDisrupt, method.Class(), c.queue)
}

// compute asks one method; the pools' budgets allow everything.
func (c *controller) compute(ctx context.Context, method disruption.Method, candidates []*disruption.Candidate) (*disruption.Command, error) {
	budgets := map[string]int{}
	for _, pool := range c.pools {
		budgets[pool.Name] = math.MaxInt32
	}
	commands, err := method.ComputeCommands(ctx, budgets, candidates...)
	if err != nil || len(commands) == 0 {
		return nil, err
	}
	return &commands[0], nil
}

func disrupt(problem Problem) (Answer, error) {
	ctx := options.ToContext(injection.WithControllerName(context.Background(), "disruption"), settings())
	options.FromContext(ctx).FeatureGates.SpotToSpotConsolidation = problem.Input.Options.SpotToSpotConsolidation
	answer := Answer{Name: problem.Name, Errors: map[string]string{}, Disrupted: &Disrupted{Single: map[string]Look{}}}
	if problem.Disruption.Standstill {
		return answer, answer.Disrupted.standstill(ctx, problem.Input)
	}
	w, err := worldOf(ctx, problem.Input)
	if err != nil {
		return answer, err
	}
	return answer, answer.Disrupted.look(ctx, controllerOf(w), problem.Disruption)
}

// look measures single candidates, and several together.
func (d *Disrupted) look(ctx context.Context, c *controller, question *Question) error {
	candidates, err := c.candidates(ctx, c.methods()[2])
	if err != nil {
		return err
	}
	byName := lo.KeyBy(candidates, func(own *disruption.Candidate) string { return own.Name() })
	for _, name := range question.Sample {
		if byName[name] == nil {
			return fmt.Errorf("%s is no candidate", name)
		}
		look, err := c.timed(ctx, c.methods()[2], []*disruption.Candidate{byName[name]})
		if err != nil {
			return err
		}
		d.Single[name] = look
	}
	if question.Multi {
		d.Multi, err = c.timed(ctx, c.methods()[1], candidates)
	}
	return err
}

func (c *controller) timed(ctx context.Context, method disruption.Method, candidates []*disruption.Candidate) (Look, error) {
	started := time.Now()
	command, err := c.compute(ctx, method, candidates)
	look := Look{Millis: millis(time.Since(started))}
	if command != nil {
		look.Nodes = len(command.Candidates)
		look.Saves = command.SourceCost()
		for _, replacement := range command.Replacements {
			if _, offering := cheapest(replacement.NodeClaim); offering != nil {
				look.Saves -= offering.Price
			}
		}
	}
	return look, err
}

// standstill carries commands out, each as if its replacements were there at once, until none is found.
func (d *Disrupted) standstill(ctx context.Context, input Input) error {
	for d.Commands < maxCommands {
		w, err := worldOf(ctx, input)
		if err != nil {
			return err
		}
		started := time.Now()
		command, err := controllerOf(w).first(ctx)
		d.Seconds += time.Since(started).Seconds()
		if err != nil {
			return err
		}
		if command == nil {
			d.Price, d.Nodes = w.price(input.Nodes), len(input.Nodes)
			return nil
		}
		d.Commands++
		if input.Nodes, err = d.carriedOut(input.Nodes, command); err != nil {
			return err
		}
	}
	return errors.New("it does not come to a standstill")
}

// first is what the first method finds that finds something, as the controller's loop asks them.
func (c *controller) first(ctx context.Context) (*disruption.Command, error) {
	for _, method := range c.methods() {
		candidates, err := c.candidates(ctx, method)
		if err != nil {
			return nil, err
		}
		if command, err := c.compute(ctx, method, candidates); err != nil || command != nil {
			return command, err
		}
	}
	return nil, nil
}

// carriedOut are the nodes after a command.
func (d *Disrupted) carriedOut(nodes []Node, command *disruption.Command) ([]Node, error) {
	gone := lo.SliceToMap(command.Candidates, func(own *disruption.Candidate) (string, bool) { return own.Node.Name, true })
	moving := map[string]*corev1.Pod{}
	var after []Node
	for _, own := range nodes {
		if gone[own.Node.Name] {
			for _, pod := range own.Pods {
				moving[podName(pod)] = pod
			}
		} else {
			after = append(after, own)
		}
	}
	d.Evictions += len(moving)
	take := func(planned []*corev1.Pod) (pods []*corev1.Pod) {
		for _, pod := range planned {
			if own := moving[podName(pod)]; own != nil {
				pods = append(pods, own)
				delete(moving, podName(pod))
			}
		}
		return pods
	}
	place := lo.SliceToMap(command.Results.ExistingNodes, func(own *scheduling.ExistingNode) (string, []*corev1.Pod) { return own.Name(), own.Pods })
	for index := range after {
		after[index].Pods = append(append([]*corev1.Pod{}, after[index].Pods...), take(place[after[index].Node.Name])...)
	}
	for index, replacement := range command.Replacements {
		node, err := launched(replacement.NodeClaim, fmt.Sprintf("new-%03d-%d", d.Commands, index))
		if err != nil {
			return nil, err
		}
		after = append(after, Node{Node: node, Pods: take(replacement.Pods)})
	}
	d.Homeless += len(moving)
	return after, nil
}

// cheapest is what a claim is taken to be launched as, as ours is.
func cheapest(claim *scheduling.NodeClaim) (kind *cloudprovider.InstanceType, offering *cloudprovider.Offering) {
	for _, own := range claim.InstanceTypeOptions {
		for _, offer := range own.Offerings.Available().Compatible(claim.Requirements) {
			if offering == nil || offer.Price < offering.Price {
				kind, offering = own, offer
			}
		}
	}
	return kind, offering
}

func launched(claim *scheduling.NodeClaim, name string) (*corev1.Node, error) {
	kind, offering := cheapest(claim)
	if offering == nil {
		return nil, errors.New("a replacement has no offering")
	}
	labels := map[string]string{}
	for _, requirements := range []karpenter.Requirements{claim.Requirements, kind.Requirements} {
		for _, own := range requirements {
			if own.Operator() == corev1.NodeSelectorOpIn && own.Len() == 1 {
				labels[own.Key] = own.Any()
			}
		}
	}
	labels = lo.Assign(labels, claim.Labels)
	labels[v1.NodePoolLabelKey] = claim.NodePoolName
	labels[corev1.LabelHostname] = name
	labels[corev1.LabelInstanceTypeStable] = kind.Name
	labels[corev1.LabelTopologyZone] = offering.Zone()
	labels[v1.CapacityTypeLabelKey] = offering.CapacityType()
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Spec:       corev1.NodeSpec{ProviderID: "aws:///" + offering.Zone() + "/" + name, Taints: claim.Spec.Taints},
		Status:     corev1.NodeStatus{Capacity: kind.Capacity, Allocatable: kind.Allocatable()},
	}, nil
}

// price is what the nodes cost per hour together.
func (w *world) price(nodes []Node) float64 {
	kinds := lo.KeyBy(w.cloud.InstanceTypes, func(kind *cloudprovider.InstanceType) string { return kind.Name })
	return lo.SumBy(nodes, func(own Node) float64 {
		labels := own.Node.Labels
		kind := kinds[labels[corev1.LabelInstanceTypeStable]]
		if kind == nil {
			return 0
		}
		price, _ := kind.OfferingPrice(labels[corev1.LabelTopologyZone], labels[v1.CapacityTypeLabelKey])
		return price
	})
}
