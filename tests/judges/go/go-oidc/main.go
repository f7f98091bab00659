// An independent verifier: go-oidc ISSUER AUDIENCE < token. Prints the claims, or says why not and fails.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/coreos/go-oidc/v3/oidc"
)

func main() {
	claims, err := verified(os.Args[1], os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	json.NewEncoder(os.Stdout).Encode(claims)
}

func verified(issuer, audience string) (map[string]any, error) {
	token, err := io.ReadAll(os.Stdin)
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	provider, err := oidc.NewProvider(ctx, issuer)
	if err != nil {
		return nil, fmt.Errorf("discovery: %w", err)
	}
	verified, err := provider.Verifier(&oidc.Config{ClientID: audience}).Verify(ctx, string(token))
	if err != nil {
		return nil, err
	}
	var claims map[string]any
	err = verified.Claims(&claims)
	return claims, err
}
