package main

import (
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// list is every machine of the cluster, as the provider's garbage collection asks for them.
func (run *Run) list() ([]ec2types.Instance, error) {
	var all []ec2types.Instance
	pages := ec2.NewDescribeInstancesPaginator(run.ec2, &ec2.DescribeInstancesInput{MaxResults: aws.Int32(1000),
		Filters: []ec2types.Filter{filter("tag-key", "karpenter.sh/nodepool"), filter("tag-key", "karpenter.k8s.aws/ec2nodeclass"),
			filter("tag:eks:eks-cluster-name", cluster), live}})
	for pages.HasMorePages() {
		page, err := pages.NextPage(run.ctx)
		if err != nil {
			return nil, err
		}
		for _, reservation := range page.Reservations {
			all = append(all, reservation.Instances...)
		}
	}
	return all, nil
}

// machines is a machine's life after its launch, with the SDK's waiters.
func (run *Run) machines(launched *Launched) {
	found, err := run.list()
	if !run.check("DescribeInstances lists both", err == nil && len(found) == len(launched.ids), err) {
		return
	}
	spot := 0
	for _, machine := range found {
		run.check("a machine has what the provider reads", machine.Placement.AvailabilityZone != nil && machine.Placement.AvailabilityZoneId != nil &&
			machine.LaunchTime != nil && machine.SubnetId != nil && len(machine.SecurityGroups) == 1 && *machine.ImageId == launched.image &&
			machine.CapacityReservationSpecification != nil && len(machine.NetworkInterfaces) == 1, machine)
		if machine.SpotInstanceRequestId != nil && machine.InstanceLifecycle == ec2types.InstanceLifecycleTypeSpot {
			spot++
		}
	}
	run.check("one of them is spot", spot == 1, spot)
	byID := &ec2.DescribeInstancesInput{InstanceIds: launched.ids, Filters: []ec2types.Filter{live}}
	_, err = run.ec2.DescribeInstances(run.ctx, &ec2.DescribeInstancesInput{InstanceIds: append(slices.Clone(launched.ids), "i-00000000000000000")})
	run.refused("one unknown id among others", err, "InvalidInstanceID.NotFound", 400)
	err = ec2.NewInstanceRunningWaiter(run.ec2, fast).Wait(run.ctx, byID, time.Minute)
	run.worked("the waiter for running machines ends", err)
	for _, query := range []ec2types.Filter{filter("instance-status.status", "impaired"), filter("system-status.status", "impaired"),
		filter("event.code", "instance-reboot", "system-reboot", "system-maintenance", "instance-retirement", "instance-stop")} {
		statuses, err := run.ec2.DescribeInstanceStatus(run.ctx, &ec2.DescribeInstanceStatusInput{Filters: []ec2types.Filter{query}})
		run.check("DescribeInstanceStatus by "+*query.Name, err == nil && len(statuses.InstanceStatuses) == 0, err)
	}
	_, err = run.ec2.CreateTags(run.ctx, &ec2.CreateTagsInput{Resources: launched.ids[:1], Tags: []ec2types.Tag{{Key: aws.String("Name"), Value: aws.String("node-1")}}})
	run.worked("CreateTags", err)
	named, err := run.ec2.DescribeInstances(run.ctx, &ec2.DescribeInstancesInput{Filters: []ec2types.Filter{filter("tag:Name", "node-1"), filter("instance-id", launched.ids...)}})
	run.check("the tag is found", err == nil && len(named.Reservations) == 1, err)
	ended, err := run.ec2.TerminateInstances(run.ctx, &ec2.TerminateInstancesInput{InstanceIds: launched.ids})
	run.check("TerminateInstances answers for each", err == nil && len(ended.TerminatingInstances) == len(launched.ids) &&
		ended.TerminatingInstances[0].CurrentState.Name == ec2types.InstanceStateNameShuttingDown, err)
	err = ec2.NewInstanceTerminatedWaiter(run.ec2, func(o *ec2.InstanceTerminatedWaiterOptions) {
		o.MinDelay, o.MaxDelay = 100*time.Millisecond, time.Second
	}).Wait(run.ctx, &ec2.DescribeInstancesInput{InstanceIds: launched.ids}, time.Minute)
	run.worked("the waiter for terminated machines ends", err)
	left, err := run.ec2.DescribeInstances(run.ctx, byID)
	run.check("a terminated machine is not live", err == nil && len(left.Reservations) == 0, err)
}

func fast(o *ec2.InstanceRunningWaiterOptions) {
	o.MinDelay, o.MaxDelay = 100*time.Millisecond, time.Second
}

// retries lets the SDK repeat what was refused or lost: with its token, so that nothing is bought twice.
func (run *Run) retries(launched *Launched) {
	quick := func(o *ec2.Options) {
		o.Retryer = retry.NewStandard(func(o *retry.StandardOptions) { o.MaxBackoff = 50 * time.Millisecond })
	}
	bought := func(name string, want int) {
		before := run.calls("CreateFleet")
		answer, err := run.ec2.CreateFleet(run.ctx, launched.fleet("on-demand", 1), quick)
		if !run.check(name, err == nil && len(answer.Instances) == 1, err) {
			return
		}
		run.check(name+", with as many calls", run.calls("CreateFleet")-before == want, run.calls("CreateFleet")-before)
		found, err := run.list()
		run.check(name+", one machine", err == nil && len(found) == 1, len(found))
		_, err = run.ec2.TerminateInstances(run.ctx, &ec2.TerminateInstancesInput{InstanceIds: answer.Instances[0].InstanceIds})
		run.worked(name+", given back", err)
		err = ec2.NewInstanceTerminatedWaiter(run.ec2, func(o *ec2.InstanceTerminatedWaiterOptions) {
			o.MinDelay, o.MaxDelay = 100*time.Millisecond, time.Second
		}).Wait(run.ctx, &ec2.DescribeInstancesInput{InstanceIds: answer.Instances[0].InstanceIds}, time.Minute)
		run.worked(name+", gone", err)
	}
	fault := func(effect any, times int) {
		run.control("POST", "/faults", map[string]any{"operation": "CreateFleet", "effect": effect, "times": times})
	}
	fault("throttle", 2)
	bought("two throttles are waited out", 3)
	fault(map[string]any{"loseResponse": "serverError"}, 1)
	bought("a lost answer is asked for again", 2)
	fault("throttle", 3)
	_, err := run.ec2.CreateFleet(run.ctx, launched.fleet("on-demand", 1), quick)
	run.refused("three throttles", err, "RequestLimitExceeded", 503)
	fault(map[string]any{"error": map[string]any{"code": "UnauthorizedOperation", "status": 403}}, 1)
	before := run.calls("CreateFleet")
	_, err = run.ec2.CreateFleet(run.ctx, launched.fleet("on-demand", 1), quick)
	run.refused("a missing right", err, "UnauthorizedOperation", 403)
	run.check("is not asked for again", run.calls("CreateFleet")-before == 1, run.calls("CreateFleet")-before)
	run.control("DELETE", "/faults", nil)
	run.exhausted(launched)
}

// exhausted is a launch into pools of which some are empty: their errors come inside a good answer.
func (run *Run) exhausted(launched *Launched) {
	rule := map[string]any{"instanceType": "m5.large", "zone": "*", "capacityType": "spot", "capacity": 0}
	run.control("PUT", "/capacity", map[string]any{"rules": []any{rule}})
	answer, err := run.ec2.CreateFleet(run.ctx, launched.fleet("spot", 1))
	run.check("an empty pool is passed by", err == nil && len(answer.Instances) == 1 && answer.Instances[0].InstanceType == "m5.xlarge", err)
	rule["instanceType"] = "m5.*"
	run.control("PUT", "/capacity", map[string]any{"rules": []any{rule}})
	none, err := run.ec2.CreateFleet(run.ctx, launched.fleet("spot", 1))
	run.check("no pool has any", err == nil && len(none.Instances) == 0 && len(none.Errors) == 2*len(launched.subnets), err)
	for _, one := range none.Errors {
		if *one.ErrorCode != "InsufficientInstanceCapacity" && *one.ErrorCode != "UnfulfillableCapacity" ||
			one.LaunchTemplateAndOverrides.Overrides.AvailabilityZone == nil {
			run.check("each error names its pool", false, one)
		}
	}
	rule["capacity"] = "unlimited"
	run.control("PUT", "/capacity", map[string]any{"rules": []any{rule}})
	if err == nil {
		_, err = run.ec2.TerminateInstances(run.ctx, &ec2.TerminateInstancesInput{InstanceIds: answer.Instances[0].InstanceIds})
		run.worked("the machine is given back", err)
	}
}
