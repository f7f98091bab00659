{{- define "jwt-reissuer.name" -}}
{{ .Release.Name }}
{{- end }}

{{- define "jwt-reissuer.labels" -}}
app.kubernetes.io/name: jwt-reissuer
app.kubernetes.io/instance: {{ include "jwt-reissuer.name" . }}
{{- end }}

{{/* The labels of the gateway's pods. */}}
{{- define "jwt-reissuer.gatewayLabels" -}}
{{- if or (eq .Values.mode "envoy") .Values.istio.gateway.create -}}
app.kubernetes.io/name: jwt-reissuer
app.kubernetes.io/instance: {{ include "jwt-reissuer.name" . }}
app.kubernetes.io/component: gateway
{{- else if .Values.istio.gateway.targetRef -}}
gateway.networking.k8s.io/gateway-name: {{ .Values.istio.gateway.targetRef }}
{{- else -}}
{{- /* `required` takes an empty map, and an empty selector means every pod of the namespace. */ -}}
{{- if not .Values.istio.gateway.labels }}{{ fail "istio.gateway.labels: name the labels of the existing gateway's pods" }}{{ end -}}
{{ .Values.istio.gateway.labels | toYaml }}
{{- end }}
{{- end }}

{{- define "jwt-reissuer.gatewayName" -}}
{{- if and (eq .Values.mode "envoy-gateway") (not .Values.envoyGateway.gateway.create) -}}
{{ required "envoyGateway.gateway.name: name the existing Gateway" .Values.envoyGateway.gateway.name }}
{{- else -}}
{{ include "jwt-reissuer.name" . }}-gateway
{{- end }}
{{- end }}

{{/* Where Envoy Gateway runs the Envoys. */}}
{{- define "jwt-reissuer.proxyNamespace" -}}
{{ .Values.envoyGateway.proxyNamespace | default .Release.Namespace }}
{{- end }}

{{- define "jwt-reissuer.issuerHost" -}}
{{ (urlParse .Values.config.issuer).hostname | lower }}
{{- end }}

{{/* "true", where this release gives tokens, and so needs the API server's keys. */}}
{{- define "jwt-reissuer.servesTokens" -}}
{{ or (not .Values.config.serve) (has "tokens" (.Values.config.serve | default list)) }}
{{- end }}

{{/* The hosts that the filter answers on, as JSON: the issuer's, the Service's, and the configured ones. */}}
{{- define "jwt-reissuer.hosts" -}}
{{ concat (list (include "jwt-reissuer.issuerHost" .)) (include "jwt-reissuer.extraHosts" . | fromJsonArray) | uniq | toJson }}
{{- end }}

{{- define "jwt-reissuer.extraHosts" -}}
{{- $hosts := list }}
{{- $own := or (eq .Values.mode "envoy") (and (eq .Values.mode "istio") .Values.istio.gateway.create) (and (eq .Values.mode "envoy-gateway") .Values.envoyGateway.gateway.create) }}
{{- if $own }}
{{- $namespace := eq .Values.mode "envoy-gateway" | ternary (include "jwt-reissuer.proxyNamespace" .) .Release.Namespace }}
{{- $service := printf "%s.%s" (include "jwt-reissuer.gatewayName" .) $namespace }}
{{- $hosts = list $service (printf "%s.svc" $service) (printf "%s.svc.cluster.local" $service) }}
{{- end }}
{{- concat $hosts (.Values.config.extra_hosts | default list) | uniq | toJson }}
{{- end }}

{{/* The cluster of Envoy that leads to the API server's public keys. */}}
{{- define "jwt-reissuer.jwksCluster" -}}
{{- if and (eq .Values.mode "istio") (eq .Values.cluster.access "anonymous") -}}
outbound|443||kubernetes.default.svc.cluster.local
{{- else -}}
kubernetes
{{- end }}
{{- end }}

{{/* The filter's configuration, as JSON. */}}
{{- define "jwt-reissuer.config" -}}
{{- $config := deepCopy .Values.config }}
{{- $_ := set $config "extra_hosts" (include "jwt-reissuer.extraHosts" . | fromJsonArray) }}
{{- $keys := $config.signing_keys | default dict }}
{{- $ours := dict "from" (dict "envoy_cluster" "signing_keys") }}
{{- if .Values.sealingKey.secret }}{{ $_ := set $ours "sealing_key" (dict "env" "REISSUER_SEALING_KEY") }}{{ end }}
{{- $_ := set $config "signing_keys" (mergeOverwrite $ours $keys) }}
{{- $jwks := dict "envoy_cluster" (include "jwt-reissuer.jwksCluster" .) "authority" "kubernetes.default.svc" "path" "/openid/v1/jwks" }}
{{- $issuers := $config.trusted_issuers }}
{{- if eq ($config.serve | default list | join ",") "documents" }}
{{- $config = omit $config "audiences" "ttl" "trusted_issuers" "claims" }}
{{- else }}
{{- if not $issuers }}
{{- $audiences := .Values.cluster.audiences | default (list .Values.config.issuer) }}
{{- $issuers = list (dict "name" "kubernetes" "issuer" .Values.cluster.issuer "audiences" $audiences) }}
{{- end }}
{{- $complete := list }}
{{- range $issuers }}
{{- $complete = append $complete (merge (deepCopy .) (dict "jwks" (hasKey . "jwks" | ternary .jwks $jwks))) }}
{{- end }}
{{- $_ := set $config "trusted_issuers" $complete }}
{{- end }}
{{- $config | toJson }}
{{- end }}

{{/* Host, repository, tag and digest of an image: {image, values}. */}}
{{- define "jwt-reissuer.image" -}}
{{- $digest := trimPrefix "sha256:" .image.digest }}
{{- if not $digest }}{{ fail "image.command.digest: name the digest of the image: whoever may push to a tag would have the signing key otherwise" }}{{ end -}}
{{ .root.Values.image.registry }}/{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}@sha256:{{ $digest }}
{{- end }}

{{- define "jwt-reissuer.guardText" -}}
jwt-reissuer did not handle this request: filter missing, or host not in extra_hosts
{{- end }}

{{/* Refuses values that contradict each other, or that would do nothing. */}}
{{- define "jwt-reissuer.check" -}}
{{- $istio := .Values.istio.gateway }}
{{- if eq .Values.mode "istio" }}
{{- if and $istio.create (or $istio.targetRef $istio.name $istio.labels) }}{{ fail "istio.gateway: set create=false to use the gateway of name, labels or targetRef" }}{{ end }}
{{- if and $istio.targetRef (or $istio.name $istio.labels) }}{{ fail "istio.gateway.targetRef: stands in place of name and labels; give one of them" }}{{ end }}
{{- if and .Values.config.read_forms (not .Values.istio.bodyPath) }}{{ fail "config.read_forms: needs istio.bodyPath, because a WasmPlugin cannot set allow_on_headers_stop_iteration" }}{{ end }}
{{- if and .Values.istio.bodyPath (ne .Values.istio.phase "STATS") }}{{ fail "istio.phase: an EnvoyFilter stands behind the authorization filters; istio.bodyPath takes STATS alone" }}{{ end }}
{{- end }}
{{- if .Values.config.shared_host }}{{ fail "config.shared_host: the guard of this chart gives our hosts no backend; share the gateway, not the host" }}{{ end }}
{{- if and (not .Values.tls.secret) (or (eq .Values.mode "envoy") (and (eq .Values.mode "istio") $istio.create) (and (eq .Values.mode "envoy-gateway") .Values.envoyGateway.gateway.create)) }}{{ fail "tls.secret: name the Secret with the certificate of the issuer's host" }}{{ end }}
{{- end }}
