package main

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/arczonalshift"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/pricing"
	pricingtypes "github.com/aws/aws-sdk-go-v2/service/pricing/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

func filter(name string, values ...string) ec2types.Filter {
	return ec2types.Filter{Name: aws.String(name), Values: values}
}

// start is what a provider reads before anything else: the catalogue, offerings, prices.
func (run *Run) start() {
	_, err := run.ec2.DescribeInstanceTypes(run.ctx, &ec2.DescribeInstanceTypesInput{DryRun: aws.Bool(true)})
	run.refused("DescribeInstanceTypes dry run", err, "DryRunOperation", 412)

	kinds := map[ec2types.InstanceType]ec2types.InstanceTypeInfo{}
	types := ec2.NewDescribeInstanceTypesPaginator(run.ec2, &ec2.DescribeInstanceTypesInput{
		MaxResults: aws.Int32(100),
		Filters: []ec2types.Filter{filter("supported-virtualization-type", "hvm"),
			filter("processor-info.supported-architecture", "x86_64", "arm64")},
	})
	pages := 0
	for types.HasMorePages() {
		page, err := types.NextPage(run.ctx)
		if !run.worked("a page of DescribeInstanceTypes", err) {
			return
		}
		pages++
		for _, kind := range page.InstanceTypes {
			kinds[kind.InstanceType] = kind
		}
	}
	run.check("DescribeInstanceTypes pages through more than a thousand types", pages > 10 && len(kinds) > 1000, len(kinds))
	small, gpu := kinds["m5.large"], kinds["p5.48xlarge"]
	run.check("m5.large is read", *small.VCpuInfo.DefaultVCpus == 2 && *small.MemoryInfo.SizeInMiB == 8192 &&
		*small.NetworkInfo.Ipv4AddressesPerInterface == 10 && !*small.BareMetal &&
		small.Hypervisor == ec2types.InstanceTypeHypervisorNitro, small)
	run.check("p5.48xlarge is read", *gpu.GpuInfo.Gpus[0].Count == 8 && *gpu.NetworkInfo.EfaInfo.MaximumEfaInterfaces == 32, gpu)

	offered := map[string]int{}
	offerings := ec2.NewDescribeInstanceTypeOfferingsPaginator(run.ec2, &ec2.DescribeInstanceTypeOfferingsInput{
		LocationType: ec2types.LocationTypeAvailabilityZone, MaxResults: aws.Int32(1000)})
	for offerings.HasMorePages() {
		page, err := offerings.NextPage(run.ctx)
		if !run.worked("a page of DescribeInstanceTypeOfferings", err) {
			return
		}
		for _, offering := range page.InstanceTypeOfferings {
			offered[string(offering.InstanceType)]++
		}
	}
	run.check("m5.large is offered in several zones", offered["m5.large"] > 1, offered["m5.large"])

	history := map[string]bool{}
	spot := ec2.NewDescribeSpotPriceHistoryPaginator(run.ec2, &ec2.DescribeSpotPriceHistoryInput{
		ProductDescriptions: []string{"Linux/UNIX", "Linux/UNIX (Amazon VPC)"},
		StartTime:           aws.Time(time.Now()), MaxResults: aws.Int32(2000)})
	for spot.HasMorePages() {
		page, err := spot.NextPage(run.ctx)
		if !run.worked("a page of DescribeSpotPriceHistory", err) {
			return
		}
		for _, row := range page.SpotPriceHistory {
			if row.Timestamp != nil && row.SpotPrice != nil {
				history[string(row.InstanceType)+*row.AvailabilityZone] = true
			}
		}
	}
	run.check("every pool has a spot price now", len(history) > 3000, len(history))
	run.prices("Shared", "Compute Instance")
	run.prices("Dedicated", "Compute Instance (bare metal)")
}

func (run *Run) prices(tenancy, family string) {
	terms := map[string]string{"regionCode": run.config.Region, "serviceCode": "AmazonEC2", "preInstalledSw": "NA",
		"operatingSystem": "Linux", "capacitystatus": "Used", "marketoption": "OnDemand", "tenancy": tenancy,
		"productFamily": family}
	input := &pricing.GetProductsInput{ServiceCode: aws.String("AmazonEC2"), MaxResults: aws.Int32(100)}
	for field, value := range terms {
		input.Filters = append(input.Filters, pricingtypes.Filter{
			Type: pricingtypes.FilterTypeTermMatch, Field: aws.String(field), Value: aws.String(value)})
	}
	// The price list is served from one region, whatever region is asked about.
	client := pricing.NewFromConfig(run.config, func(o *pricing.Options) { o.Region = "us-east-1" })
	products := pricing.NewGetProductsPaginator(client, input)
	priced := 0
	for products.HasMorePages() {
		page, err := products.NextPage(run.ctx)
		if !run.worked("a page of GetProducts", err) {
			return
		}
		for _, text := range page.PriceList {
			var item struct {
				Product struct{ Attributes struct{ InstanceType string } }
				Terms   struct {
					OnDemand map[string]struct {
						PriceDimensions map[string]struct{ PricePerUnit map[string]string }
					}
				}
			}
			if json.Unmarshal([]byte(text), &item) == nil && item.Product.Attributes.InstanceType != "" && len(item.Terms.OnDemand) == 1 {
				priced++
			}
		}
	}
	run.check("GetProducts prices "+tenancy, priced > 50, priced)
}

// services is what is asked of the others than EC2.
func (run *Run) services() {
	clusters := eks.NewFromConfig(run.config)
	described, err := clusters.DescribeCluster(run.ctx, &eks.DescribeClusterInput{Name: aws.String(cluster)})
	if run.worked("DescribeCluster", err) {
		run.check("the cluster has version, endpoint and addresses", strings.HasPrefix(*described.Cluster.Version, "1.") &&
			described.Cluster.Endpoint != nil && described.Cluster.KubernetesNetworkConfig.ServiceIpv4Cidr != nil, described.Cluster)
		shifts, err := arczonalshift.NewFromConfig(run.config).GetManagedResource(run.ctx,
			&arczonalshift.GetManagedResourceInput{ResourceIdentifier: described.Cluster.Arn})
		run.check("GetManagedResource", err == nil && len(shifts.ZonalShifts) == 0, err)
	}
	_, err = clusters.DescribeCluster(run.ctx, &eks.DescribeClusterInput{Name: aws.String("none")})
	run.refused("an unknown cluster", err, "ResourceNotFoundException", 404)
	caller, err := sts.NewFromConfig(run.config).GetCallerIdentity(run.ctx, &sts.GetCallerIdentityInput{})
	run.check("GetCallerIdentity", err == nil && len(*caller.Account) == 12, err)
	_, err = ssm.NewFromConfig(run.config).GetParameter(run.ctx, &ssm.GetParameterInput{Name: aws.String("/none")})
	run.refused("an unknown parameter", err, "ParameterNotFound", 400)
	run.queue()
	run.profile()
}

// queue is checked with the SDK's own check of the bodies' MD5 sums.
func (run *Run) queue() {
	client := sqs.NewFromConfig(run.config)
	_, err := client.GetQueueUrl(run.ctx, &sqs.GetQueueUrlInput{QueueName: aws.String("none")})
	run.refused("an unknown queue", err, "AWS.SimpleQueueService.NonExistentQueue", 400)
	found, err := client.GetQueueUrl(run.ctx, &sqs.GetQueueUrlInput{QueueName: aws.String(cluster)})
	if !run.worked("GetQueueUrl", err) {
		return
	}
	_, err = client.PurgeQueue(run.ctx, &sqs.PurgeQueueInput{QueueUrl: found.QueueUrl})
	run.worked("PurgeQueue", err)
	_, err = client.SendMessage(run.ctx, &sqs.SendMessageInput{QueueUrl: found.QueueUrl, MessageBody: aws.String("hello")})
	run.worked("SendMessage, its MD5 sum compared", err)
	received, err := client.ReceiveMessage(run.ctx, &sqs.ReceiveMessageInput{QueueUrl: found.QueueUrl,
		MaxNumberOfMessages: 10, VisibilityTimeout: 20, WaitTimeSeconds: 20,
		MessageSystemAttributeNames: []sqstypes.MessageSystemAttributeName{"SentTimestamp"}, MessageAttributeNames: []string{"All"}})
	if !run.check("ReceiveMessage, its MD5 sum compared", err == nil && len(received.Messages) == 1, err) {
		return
	}
	message := received.Messages[0]
	run.check("the message is whole", *message.Body == "hello" && message.Attributes["SentTimestamp"] != "", message)
	_, err = client.DeleteMessage(run.ctx, &sqs.DeleteMessageInput{QueueUrl: found.QueueUrl, ReceiptHandle: message.ReceiptHandle})
	run.worked("DeleteMessage", err)
	_, err = client.DeleteMessage(run.ctx, &sqs.DeleteMessageInput{QueueUrl: found.QueueUrl, ReceiptHandle: aws.String("x")})
	run.refused("a receipt that is none", err, "ReceiptHandleIsInvalid", 400)
}

func (run *Run) profile() {
	client, name := iam.NewFromConfig(run.config), aws.String("go_1")
	path := aws.String("/karpenter/" + run.config.Region + "/go/uid/")
	_, err := client.GetInstanceProfile(run.ctx, &iam.GetInstanceProfileInput{InstanceProfileName: name})
	run.refused("a profile before it is made", err, "NoSuchEntity", 404)
	_, err = client.CreateInstanceProfile(run.ctx, &iam.CreateInstanceProfileInput{InstanceProfileName: name, Path: path,
		Tags: []iamtypes.Tag{{Key: aws.String("k"), Value: aws.String("v")}}})
	run.worked("CreateInstanceProfile", err)
	_, err = client.CreateInstanceProfile(run.ctx, &iam.CreateInstanceProfileInput{InstanceProfileName: name, Path: path})
	run.refused("the profile again", err, "EntityAlreadyExists", 409)
	_, err = client.CreateRole(run.ctx, &iam.CreateRoleInput{RoleName: aws.String("go-nodes"), AssumeRolePolicyDocument: aws.String("{}")})
	run.worked("CreateRole", err)
	_, err = client.AddRoleToInstanceProfile(run.ctx, &iam.AddRoleToInstanceProfileInput{InstanceProfileName: name, RoleName: aws.String("go-nodes")})
	run.worked("AddRoleToInstanceProfile", err)
	got, err := client.GetInstanceProfile(run.ctx, &iam.GetInstanceProfileInput{InstanceProfileName: name})
	run.check("the profile has role, path and tags", err == nil && *got.InstanceProfile.Roles[0].RoleName == "go-nodes" &&
		*got.InstanceProfile.Path == *path && *got.InstanceProfile.Tags[0].Value == "v", err)
	listed, err := client.ListInstanceProfiles(run.ctx, &iam.ListInstanceProfilesInput{PathPrefix: path})
	run.check("ListInstanceProfiles by path", err == nil && len(listed.InstanceProfiles) == 1, err)
	_, err = client.RemoveRoleFromInstanceProfile(run.ctx, &iam.RemoveRoleFromInstanceProfileInput{InstanceProfileName: name, RoleName: aws.String("go-nodes")})
	run.worked("RemoveRoleFromInstanceProfile", err)
	_, err = client.DeleteInstanceProfile(run.ctx, &iam.DeleteInstanceProfileInput{InstanceProfileName: name})
	run.worked("DeleteInstanceProfile", err)
	_, err = client.DeleteRole(run.ctx, &iam.DeleteRoleInput{RoleName: aws.String("go-nodes")})
	run.worked("DeleteRole", err)
}
