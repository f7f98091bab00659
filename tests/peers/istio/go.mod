// Istio's published schemas, for checking our package against them.
module jwt-reissuer.example/tests/peers/istio

go 1.22

require istio.io/api v1.31.4
