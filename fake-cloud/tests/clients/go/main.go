// The fake cloud as aws-sdk-go-v2 sees it, the client that Karpenter's AWS provider uses: with the parameters that the provider
// sends, the SDK's own paginators, waiters and retries. Prints one line per check and `N passed, N failed`.
//
//	AWS_ENDPOINT_URL=http://127.0.0.1:PORT go run .
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// The cluster that `sawhorse cloud` has by itself.
const cluster = "sawhorse"

// Run is what the checks share.
type Run struct {
	ctx            context.Context
	endpoint       string
	config         aws.Config
	ec2            *ec2.Client
	passed, failed int
}

func (run *Run) check(name string, truth bool, detail any) bool {
	if truth {
		run.passed++
		fmt.Println("ok   ", name)
	} else {
		run.failed++
		fmt.Printf("FAIL  %s: %v\n", name, detail)
	}
	return truth
}

// worked is a check that a call succeeded; what follows needs its answer.
func (run *Run) worked(name string, err error) bool {
	return run.check(name, err == nil, err)
}

// refused checks that a call was refused with this code and HTTP status.
func (run *Run) refused(name string, err error, code string, status int) {
	var said smithy.APIError
	var answer *smithyhttp.ResponseError
	if !errors.As(err, &said) || !errors.As(err, &answer) {
		run.check(name, false, err)
		return
	}
	run.check(fmt.Sprintf("%s -> %s %d", name, code, status),
		said.ErrorCode() == code && answer.HTTPStatusCode() == status, err)
}

// control sends a request to the tester's door.
func (run *Run) control(method, path string, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	request, err := http.NewRequestWithContext(run.ctx, method, run.endpoint+"/control/v1"+path, bytes.NewReader(text))
	if err != nil {
		panic(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		panic(err)
	}
	defer answer.Body.Close()
	run.check("control "+method+" "+path, answer.StatusCode < 300, answer.Status)
}

// calls is how often an operation has been called, as the cloud's ledger has it.
func (run *Run) calls(operation string) int {
	answer, err := http.Get(run.endpoint + "/control/v1/ledger")
	if err != nil {
		panic(err)
	}
	defer answer.Body.Close()
	var ledger struct {
		Calls map[string]struct{ Calls int }
	}
	if err := json.NewDecoder(answer.Body).Decode(&ledger); err != nil {
		panic(err)
	}
	return ledger.Calls[operation].Calls
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	loaded, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	run := &Run{ctx: ctx, endpoint: os.Getenv("AWS_ENDPOINT_URL"), config: loaded, ec2: ec2.NewFromConfig(loaded)}
	started := time.Now()
	run.start()
	run.services()
	if launched := run.launch(); launched != nil {
		run.machines(launched)
		run.retries(launched)
		run.template(launched)
	}
	fmt.Printf("# %.1f s\n%d passed, %d failed\n", time.Since(started).Seconds(), run.passed, run.failed)
	if run.failed > 0 {
		os.Exit(1)
	}
}
