// Gives scheduling problems to sigs.k8s.io/karpenter's scheduler, and clusters to its disruption.
//
// It reads JSON documents {"name": …, "input": what `sawhorse solve` reads} from standard input, one after another, and
// answers each with one line of JSON on standard output. Only Solve is timed: making the cluster, its topology and the
// scheduler ready is not held against it.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"sigs.k8s.io/karpenter/pkg/controllers/provisioning/scheduling"
	"sigs.k8s.io/karpenter/pkg/events"
	"sigs.k8s.io/karpenter/pkg/operator/injection"
	"sigs.k8s.io/karpenter/pkg/operator/options"
)

// Problem is what is asked.
type Problem struct {
	Name  string `json:"name"`
	Input Input  `json:"input"`
	// Seconds after which Solve is ended, as the provisioner ends it after a minute; 0 for never.
	Timeout float64 `json:"timeout"`
	// What is asked about the input's nodes, instead of where its pods go.
	Disruption *Question `json:"disruption"`
}

// Answer is what the scheduler says.
type Answer struct {
	Name   string            `json:"name"`
	Claims []Claim           `json:"claims"`
	Nodes  []Claim           `json:"nodes"`
	Errors map[string]string `json:"errors"`
	Price  float64           `json:"price"`
	// Milliseconds.
	Setup    float64 `json:"setup"`
	Solve    float64 `json:"solve"`
	TimedOut bool    `json:"timedOut"`
	// Bytes: the most that the process has had resident while solving, and what Solve has allocated in all.
	Peak      uint64 `json:"peak"`
	Allocated uint64 `json:"allocated"`
	// What became of a question about disruption.
	Disrupted *Disrupted `json:"disrupted,omitempty"`
}

// Claim is a machine with its pods.
type Claim struct {
	Node   string   `json:"node,omitempty"`
	Pool   string   `json:"pool,omitempty"`
	Type   string   `json:"type,omitempty"`
	Zone   string   `json:"zone,omitempty"`
	Market string   `json:"market,omitempty"`
	Price  float64  `json:"price,omitempty"`
	Pods   []string `json:"pods"`
}

func main() {
	log.SetLogger(logr.Discard())
	decoder := json.NewDecoder(bufio.NewReaderSize(os.Stdin, 1<<20))
	encoder := json.NewEncoder(os.Stdout)
	for {
		var problem Problem
		if err := decoder.Decode(&problem); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			fail(err)
		}
		ask := solve
		if problem.Disruption != nil {
			ask = disrupt
		}
		answer, err := ask(problem)
		if err != nil {
			fail(fmt.Errorf("%s: %w", problem.Name, err))
		}
		if err := encoder.Encode(answer); err != nil {
			fail(err)
		}
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func solve(problem Problem) (Answer, error) {
	ctx := options.ToContext(injection.WithControllerName(context.Background(), "provisioner"), settings())
	started := time.Now()
	world, err := worldOf(ctx, problem.Input)
	if err != nil {
		return Answer{}, err
	}
	// As the provisioner does with the one CPU that its chart asks for.
	opts := []scheduling.Options{scheduling.DisableReservedCapacityFallback, scheduling.NumConcurrentReconciles(1)}
	if problem.Input.Options.PreferencePolicy == "Ignore" {
		opts = append(opts, scheduling.IgnorePreferences)
	}
	nodes := world.cluster.DeepCopyNodes().Active()
	topology, err := scheduling.NewTopology(ctx, world.client, world.cluster, nodes, world.pools, world.types, world.pods, opts...)
	if err != nil {
		return Answer{}, err
	}
	scheduler := scheduling.NewScheduler(ctx, world.client, world.pools, world.cluster, nodes, topology, world.types, world.daemons,
		events.NewRecorder(&record.FakeRecorder{}), clock.RealClock{}, nil, nil, opts...)
	setup := time.Since(started)

	limited := ctx
	if problem.Timeout > 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, time.Duration(problem.Timeout*float64(time.Second)))
		defer cancel()
	}
	before := allocated()
	resetPeak()
	started = time.Now()
	results, err := scheduler.Solve(limited, world.pods)
	solved := time.Since(started)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return Answer{}, err
	}
	answer := Answer{
		Name: problem.Name, Setup: millis(setup), Solve: millis(solved), TimedOut: err != nil,
		Peak: peak(), Allocated: allocated() - before,
	}
	answer.read(results)
	return answer, nil
}

// read takes over what was decided. A claim costs what its cheapest offering costs.
func (a *Answer) read(results scheduling.Results) {
	a.Errors = map[string]string{}
	for pod, err := range results.PodErrors {
		a.Errors[podName(pod)] = err.Error()
	}
	for _, claim := range results.NewNodeClaims {
		own := Claim{Pool: claim.NodePoolName, Pods: podNames(claim.Pods), Price: -1}
		for _, kind := range claim.InstanceTypeOptions {
			for _, offering := range kind.Offerings.Available().Compatible(claim.Requirements) {
				if own.Price < 0 || offering.Price < own.Price {
					own.Type, own.Zone, own.Market, own.Price = kind.Name, offering.Zone(), offering.CapacityType(), offering.Price
				}
			}
		}
		// What cannot be launched is not free: its pods have no place.
		if own.Price < 0 {
			for _, pod := range own.Pods {
				a.Errors[pod] = "its NodeClaim has no offering"
			}
			continue
		}
		a.Price += own.Price
		a.Claims = append(a.Claims, own)
	}
	for _, node := range results.ExistingNodes {
		if len(node.Pods) > 0 {
			a.Nodes = append(a.Nodes, Claim{Node: node.Name(), Pods: podNames(node.Pods)})
		}
	}
}

func podName(pod *corev1.Pod) string {
	return pod.Namespace + "/" + pod.Name
}

func podNames(pods []*corev1.Pod) []string {
	names := make([]string, 0, len(pods))
	for _, pod := range pods {
		names = append(names, podName(pod))
	}
	sort.Strings(names)
	return names
}

func millis(d time.Duration) float64 {
	return float64(d.Microseconds()) / 1000
}

// resetPeak lets the kernel count the peak anew (proc(5)); where it cannot, the peak is that of the whole process.
func resetPeak() {
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)
}

func peak() uint64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, _ := strconv.ParseUint(strings.Fields(rest)[0], 10, 64)
			return kib << 10
		}
	}
	return 0
}
