// Independent verifiers written in Go, for the end-to-end tests.
module jwt-reissuer.example/tests/judges

go 1.26

require (
	github.com/coreos/go-oidc/v3 v3.21.0
	github.com/hashicorp/cap v0.15.0
)

require (
	github.com/go-jose/go-jose/v4 v4.1.6 // indirect
	github.com/hashicorp/go-cleanhttp v0.5.2 // indirect
	golang.org/x/oauth2 v0.36.0 // indirect
)
