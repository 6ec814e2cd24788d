// go-spiffe, the reference client, against the Workload API: prints one line for each thing that held.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

const audience = "billing.acme.example"

func must(what string, err error) {
	if err != nil {
		fmt.Println("FAILED", what, err)
		os.Exit(1)
	}
	fmt.Println(what)
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	source, err := workloadapi.NewX509Source(ctx)
	must("x509", err)
	svid, err := source.GetX509SVID()
	must("svid", err)
	bundles, err := workloadapi.FetchX509Bundles(ctx)
	must("bundles", err)
	_, _, err = x509svid.Verify(svid.Certificates, bundles)
	must("verified", err)
	token, err := workloadapi.FetchJWTSVID(ctx, jwtsvid.Params{Audience: audience})
	must("jwt", err)
	_, err = workloadapi.ValidateJWTSVID(ctx, token.Marshal(), audience)
	must("validated", err)
	keys, err := workloadapi.FetchJWTBundles(ctx)
	must("keys", err)
	_, err = jwtsvid.ParseAndValidate(token.Marshal(), keys, []string{audience})
	must("parsed", err)
	_, err = workloadapi.FetchJWTSVID(ctx, jwtsvid.Params{Audience: "vault"})
	if err == nil || !strings.Contains(err.Error(), "PermissionDenied") {
		fmt.Println("FAILED vault", err)
		os.Exit(1)
	}
	fmt.Println("ready", svid.ID)
	if err = source.WaitUntilUpdated(ctx); err == nil {
		var next *x509svid.SVID
		next, err = source.GetX509SVID()
		if err == nil && next.Certificates[0].SerialNumber.Cmp(svid.Certificates[0].SerialNumber) == 0 {
			err = fmt.Errorf("the same certificate again")
		}
	}
	must("rotated", err)
}
