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
{{ (urlParse .Values.config.issuer).hostname }}
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
{{ .root.Values.image.registry }}/{{ .image.repository }}:{{ .image.tag }}{{ with .image.digest }}@{{ . }}{{ end }}
{{- end }}

{{- define "jwt-reissuer.guardText" -}}
jwt-reissuer did not handle this request: filter missing, or host not in extra_hosts
{{- end }}
