// An independent verifier, the one inside of Vault: cap ISSUER AUDIENCE < token. Prints the claims, or says why not and fails.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/hashicorp/cap/jwt"
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
	// cap takes certificate authorities as text, not from the environment.
	roots := ""
	if file := os.Getenv("SSL_CERT_FILE"); file != "" {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		roots = string(content)
	}
	ctx := context.Background()
	keys, err := jwt.NewOIDCDiscoveryKeySet(ctx, issuer, roots)
	if err != nil {
		return nil, fmt.Errorf("discovery: %w", err)
	}
	validator, err := jwt.NewValidator(keys)
	if err != nil {
		return nil, err
	}
	return validator.Validate(ctx, string(token), jwt.Expected{
		Issuer:            issuer,
		Audiences:         []string{audience},
		SigningAlgorithms: []jwt.Alg{jwt.RS256},
	})
}
