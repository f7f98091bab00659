{{/* The part that is merged into the bootstrap that Envoy Gateway writes. */}}
{{- define "jwt-reissuer.envoyGatewayBootstrap" -}}
bootstrap_extensions:
- name: envoy.bootstrap.internal_listener
  typed_config: { "@type": type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener }
static_resources:
  listeners:
  - {{- include "jwt-reissuer.signingKeysListener" . | nindent 4 }}
  {{- if eq .Values.cluster.access "token" }}
  - {{- include "jwt-reissuer.jwksListener" . | nindent 4 }}
  {{- end }}
  clusters:
  - {{- include "jwt-reissuer.signingKeysCluster" . | nindent 4 }}
  {{- if eq .Values.cluster.access "token" }}
  - {{- include "jwt-reissuer.jwksListenerCluster" . | nindent 4 }}
  - {{- include "jwt-reissuer.apiServerCluster" (dict "name" "kubernetes_api_with_token" "token" true) | nindent 4 }}
  {{- else if eq (include "jwt-reissuer.servesTokens" .) "true" }}
  - {{- include "jwt-reissuer.apiServerCluster" (dict "name" "kubernetes" "token" false) | nindent 4 }}
  {{- end }}
{{- end }}
