package main

import (
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
)

// Launched is what a launch left for the checks that follow it.
type Launched struct {
	template, image string
	subnets         []ec2types.Subnet
	ids             []string
}

var tags = []ec2types.Tag{
	{Key: aws.String("karpenter.sh/nodepool"), Value: aws.String("default")},
	{Key: aws.String("karpenter.k8s.aws/ec2nodeclass"), Value: aws.String("default")},
	{Key: aws.String("eks:eks-cluster-name"), Value: aws.String(cluster)},
}

var live = filter("instance-state-name", "pending", "running", "stopping", "stopped", "shutting-down")

func of(kinds ...ec2types.ResourceType) []ec2types.TagSpecification {
	var all []ec2types.TagSpecification
	for _, kind := range kinds {
		all = append(all, ec2types.TagSpecification{ResourceType: kind, Tags: tags})
	}
	return all
}

// launch resolves a NodeClass, makes its launch template and buys two machines.
func (run *Run) launch() *Launched {
	discovery := []ec2types.Filter{filter("tag:karpenter.sh/discovery", cluster)}
	subnets, err := run.ec2.DescribeSubnets(run.ctx, &ec2.DescribeSubnetsInput{Filters: discovery, MaxResults: aws.Int32(500)})
	if !run.check("DescribeSubnets by tag", err == nil && len(subnets.Subnets) > 1, err) {
		return nil
	}
	groups, err := run.ec2.DescribeSecurityGroups(run.ctx, &ec2.DescribeSecurityGroupsInput{Filters: discovery, MaxResults: aws.Int32(500)})
	if !run.check("DescribeSecurityGroups by tag", err == nil && len(groups.SecurityGroups) == 1, err) {
		return nil
	}
	alias := "/aws/service/eks/optimized-ami/1.35/amazon-linux-2023/x86_64/standard/recommended/image_id"
	parameter, err := ssm.NewFromConfig(run.config).GetParameter(run.ctx, &ssm.GetParameterInput{Name: aws.String(alias)})
	if !run.worked("GetParameter", err) {
		return nil
	}
	image := *parameter.Parameter.Value
	images, err := run.ec2.DescribeImages(run.ctx, &ec2.DescribeImagesInput{IncludeDeprecated: aws.Bool(true),
		MaxResults: aws.Int32(1000), Filters: []ec2types.Filter{filter("image-id", image), filter("state", "available")}})
	run.check("DescribeImages finds what the alias names", err == nil && len(images.Images) == 1 &&
		images.Images[0].Architecture == ec2types.ArchitectureValuesX8664, err)
	launched := &Launched{image: image, subnets: subnets.Subnets, template: fmt.Sprintf("karpenter.k8s.aws/%d", time.Now().UnixNano())}
	if !run.createTemplate(launched, *groups.SecurityGroups[0].GroupId) {
		return nil
	}
	input := launched.fleet("spot", 2)
	input.DryRun = aws.Bool(true)
	_, err = run.ec2.CreateFleet(run.ctx, input)
	run.refused("CreateFleet dry run", err, "DryRunOperation", 412)
	_, err = run.ec2.RunInstances(run.ctx, &ec2.RunInstancesInput{DryRun: aws.Bool(true), MinCount: aws.Int32(1), MaxCount: aws.Int32(1),
		InstanceType: "m5.large", LaunchTemplate: &ec2types.LaunchTemplateSpecification{
			LaunchTemplateName: &launched.template, Version: aws.String("$Latest")},
		NetworkInterfaces: []ec2types.InstanceNetworkInterfaceSpecification{{DeviceIndex: aws.Int32(0), SubnetId: launched.subnets[0].SubnetId}},
		TagSpecifications: of("instance", "volume", "network-interface")})
	run.refused("RunInstances dry run", err, "DryRunOperation", 412)
	for _, market := range []string{"spot", "on-demand"} {
		answer, err := run.ec2.CreateFleet(run.ctx, launched.fleet(market, 1))
		if !run.check("CreateFleet "+market, err == nil && len(answer.Errors) == 0 && len(answer.Instances) == 1, err) {
			return nil
		}
		echoed := answer.Instances[0].LaunchTemplateAndOverrides.Overrides
		run.check("it echoes zone, subnet and image", *echoed.ImageId == image && echoed.AvailabilityZone != nil &&
			echoed.SubnetId != nil && string(answer.Instances[0].Lifecycle) == market, answer.Instances[0])
		launched.ids = append(launched.ids, answer.Instances[0].InstanceIds...)
	}
	return launched
}

func (run *Run) createTemplate(launched *Launched, group string) bool {
	_, err := run.ec2.DescribeLaunchTemplates(run.ctx, &ec2.DescribeLaunchTemplatesInput{LaunchTemplateNames: []string{launched.template}})
	run.refused("a template before it is made", err, "InvalidLaunchTemplateName.NotFoundException", 400)
	input := &ec2.CreateLaunchTemplateInput{
		LaunchTemplateName: &launched.template, ClientToken: aws.String("go-" + launched.template[18:]),
		TagSpecifications: of("launch-template"),
		LaunchTemplateData: &ec2types.RequestLaunchTemplateData{
			ImageId: &launched.image, UserData: aws.String("IyEvYmluL3NoCg=="),
			IamInstanceProfile: &ec2types.LaunchTemplateIamInstanceProfileSpecificationRequest{Name: aws.String("nodes")},
			Monitoring:         &ec2types.LaunchTemplatesMonitoringRequest{Enabled: aws.Bool(false)},
			BlockDeviceMappings: []ec2types.LaunchTemplateBlockDeviceMappingRequest{{DeviceName: aws.String("/dev/xvda"),
				Ebs: &ec2types.LaunchTemplateEbsBlockDeviceRequest{VolumeSize: aws.Int32(20), VolumeType: "gp3", Encrypted: aws.Bool(true)}}},
			NetworkInterfaces: []ec2types.LaunchTemplateInstanceNetworkInterfaceSpecificationRequest{{DeviceIndex: aws.Int32(0), Groups: []string{group}}},
			MetadataOptions: &ec2types.LaunchTemplateInstanceMetadataOptionsRequest{HttpEndpoint: "enabled", HttpProtocolIpv6: "disabled",
				HttpPutResponseHopLimit: aws.Int32(1), HttpTokens: "required", InstanceMetadataTags: "disabled"},
			Placement:         &ec2types.LaunchTemplatePlacementRequest{Tenancy: "default"},
			EnclaveOptions:    &ec2types.LaunchTemplateEnclaveOptionsRequest{Enabled: aws.Bool(false)},
			TagSpecifications: []ec2types.LaunchTemplateTagSpecificationRequest{{ResourceType: "network-interface", Tags: tags}},
			CapacityReservationSpecification: &ec2types.LaunchTemplateCapacityReservationSpecificationRequest{
				CapacityReservationPreference: ec2types.CapacityReservationPreferenceNone},
		},
	}
	first, err := run.ec2.CreateLaunchTemplate(run.ctx, input)
	if !run.worked("CreateLaunchTemplate", err) {
		return false
	}
	again, err := run.ec2.CreateLaunchTemplate(run.ctx, input)
	return run.check("the same token gives the same template", err == nil &&
		*again.LaunchTemplate.LaunchTemplateId == *first.LaunchTemplate.LaunchTemplateId, err)
}

// fleet is a request as the provider makes it; the SDK adds the token.
func (launched *Launched) fleet(market string, count int32) *ec2.CreateFleetInput {
	var overrides []ec2types.FleetLaunchTemplateOverridesRequest
	for _, subnet := range launched.subnets {
		for _, kind := range []ec2types.InstanceType{"m5.large", "m5.xlarge"} {
			overrides = append(overrides, ec2types.FleetLaunchTemplateOverridesRequest{InstanceType: kind, SubnetId: subnet.SubnetId,
				ImageId: &launched.image, AvailabilityZone: subnet.AvailabilityZone, Priority: aws.Float64(1.92e-08)})
		}
	}
	input := &ec2.CreateFleetInput{
		Type: ec2types.FleetTypeInstant,
		TargetCapacitySpecification: &ec2types.TargetCapacitySpecificationRequest{
			TotalTargetCapacity: aws.Int32(count), DefaultTargetCapacityType: ec2types.DefaultTargetCapacityType(market)},
		LaunchTemplateConfigs: []ec2types.FleetLaunchTemplateConfigRequest{{Overrides: overrides,
			LaunchTemplateSpecification: &ec2types.FleetLaunchTemplateSpecificationRequest{
				LaunchTemplateName: &launched.template, Version: aws.String("$Latest")}}},
		TagSpecifications: of("instance", "volume", "fleet"),
	}
	if market == "spot" {
		input.SpotOptions = &ec2types.SpotOptionsRequest{AllocationStrategy: ec2types.SpotAllocationStrategyPriceCapacityOptimized}
	} else {
		input.OnDemandOptions = &ec2types.OnDemandOptionsRequest{AllocationStrategy: ec2types.FleetOnDemandAllocationStrategyLowestPrice}
	}
	return input
}

// template is let go of at the end.
func (run *Run) template(launched *Launched) {
	_, err := run.ec2.DeleteLaunchTemplate(run.ctx, &ec2.DeleteLaunchTemplateInput{LaunchTemplateName: &launched.template})
	run.worked("DeleteLaunchTemplate", err)
	_, err = run.ec2.CreateFleet(run.ctx, launched.fleet("spot", 1))
	run.refused("CreateFleet without its template", err, "InvalidLaunchTemplateName.NotFoundException", 400)
}
