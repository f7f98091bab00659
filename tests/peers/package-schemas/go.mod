// The schemas that the packages are checked against: one entry for each version, because a module has one version in a go.mod.
module jwt-reissuer.example/tests/peers/package-schemas

go 1.22

require (
	jwt-reissuer.example/schemas/cert-manager v0.0.0
	jwt-reissuer.example/schemas/envoy-gateway-1.7 v0.0.0
	jwt-reissuer.example/schemas/envoy-gateway-1.8 v0.0.0
	jwt-reissuer.example/schemas/envoy-gateway-1.9 v0.0.0
	jwt-reissuer.example/schemas/external-secrets v0.0.0
	jwt-reissuer.example/schemas/gateway-api-1.4 v0.0.0
	jwt-reissuer.example/schemas/gateway-api-1.5 v0.0.0
	jwt-reissuer.example/schemas/gateway-api-1.6 v0.0.0
	jwt-reissuer.example/schemas/istio-1.30 v0.0.0
	jwt-reissuer.example/schemas/istio-1.31 v0.0.0
	jwt-reissuer.example/schemas/istio-1.32 v0.0.0
	jwt-reissuer.example/schemas/kubernetes v0.0.0
	jwt-reissuer.example/schemas/sealed-secrets v0.0.0
)

replace (
	jwt-reissuer.example/schemas/kubernetes => k8s.io/kubernetes v1.36.3
	jwt-reissuer.example/schemas/istio-1.30 => istio.io/api v1.30.8
	jwt-reissuer.example/schemas/istio-1.31 => istio.io/api v1.31.4
	jwt-reissuer.example/schemas/istio-1.32 => istio.io/api v1.32.0
	jwt-reissuer.example/schemas/gateway-api-1.4 => sigs.k8s.io/gateway-api v1.4.1
	jwt-reissuer.example/schemas/gateway-api-1.5 => sigs.k8s.io/gateway-api v1.5.1
	jwt-reissuer.example/schemas/gateway-api-1.6 => sigs.k8s.io/gateway-api v1.6.1
	jwt-reissuer.example/schemas/envoy-gateway-1.7 => github.com/envoyproxy/gateway v1.7.0
	jwt-reissuer.example/schemas/envoy-gateway-1.8 => github.com/envoyproxy/gateway v1.8.0
	jwt-reissuer.example/schemas/envoy-gateway-1.9 => github.com/envoyproxy/gateway v1.9.1
	jwt-reissuer.example/schemas/external-secrets => github.com/external-secrets/external-secrets v1.3.2
	jwt-reissuer.example/schemas/sealed-secrets => github.com/bitnami-labs/sealed-secrets v0.40.0
	jwt-reissuer.example/schemas/cert-manager => github.com/cert-manager/cert-manager v1.21.2
)
