{{/* Mounts of a gateway's pods: keyring, SDS files, what they need of the API server, and the certificate, unless a controller brings it. */}}
{{- define "jwt-reissuer.volumeMounts" -}}
- { name: jwt-reissuer-sds, mountPath: /etc/jwt-reissuer/sds, readOnly: true }
{{- if .Values.keyring.secret }}
- { name: jwt-reissuer-keys, mountPath: /etc/jwt-reissuer/keys, readOnly: true }
{{- end }}
- { name: jwt-reissuer-kubernetes, mountPath: /etc/jwt-reissuer/kubernetes, readOnly: true }
{{- if ne .Values.mode "envoy-gateway" }}
- { name: jwt-reissuer-tls, mountPath: /etc/jwt-reissuer/tls, readOnly: true }
{{- end }}
{{- end }}

{{- define "jwt-reissuer.certificate" -}}
{{ required "tls.secret: name the Secret with the certificate of the issuer's host" .Values.tls.secret }}
{{- end }}

{{- define "jwt-reissuer.volumes" -}}
- name: jwt-reissuer-sds
  configMap: { name: {{ include "jwt-reissuer.name" . }}-sds }
{{- if .Values.keyring.secret }}
- name: jwt-reissuer-keys
  secret: { secretName: {{ .Values.keyring.secret }}, items: [ { key: {{ .Values.keyring.key }}, path: signing-keys } ] }
{{- end }}
# The CA by a volume of its own, so that it is there without `automountServiceAccountToken`.
- name: jwt-reissuer-kubernetes
  projected:
    sources:
    - configMap: { name: kube-root-ca.crt, items: [ { key: ca.crt, path: ca.crt } ] }
    {{- if eq .Values.cluster.access "token" }}
    - serviceAccountToken: { path: token, expirationSeconds: 3600 }
    {{- end }}
{{- if ne .Values.mode "envoy-gateway" }}
- name: jwt-reissuer-tls
  secret: { secretName: {{ include "jwt-reissuer.certificate" . }} }
{{- end }}
{{- end }}

{{/* Service, PodDisruptionBudget and HorizontalPodAutoscaler of a gateway of our own. */}}
{{- define "jwt-reissuer.service" -}}
{{- $name := include "jwt-reissuer.gatewayName" . -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ $name }}
  namespace: {{ .Release.Namespace }}
  labels: {{- include "jwt-reissuer.labels" . | nindent 4 }}
  {{- with .Values.gateway.service.annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  type: {{ .Values.gateway.service.type }}
  {{- with .Values.gateway.service.loadBalancerSourceRanges }}
  loadBalancerSourceRanges: {{- toYaml . | nindent 2 }}
  {{- end }}
  selector: {{- include "jwt-reissuer.gatewayLabels" . | nindent 4 }}
  ports: [ { name: https, port: 443, targetPort: {{ eq .Values.mode "istio" | ternary .Values.istio.gateway.tlsPort 8443 }} } ]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ $name }}
  namespace: {{ .Release.Namespace }}
  labels: {{- include "jwt-reissuer.labels" . | nindent 4 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels: {{- include "jwt-reissuer.gatewayLabels" . | nindent 6 }}
{{- if gt (int .Values.gateway.maxReplicas) (int .Values.gateway.replicas) }}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ $name }}
  namespace: {{ .Release.Namespace }}
  labels: {{- include "jwt-reissuer.labels" . | nindent 4 }}
spec:
  scaleTargetRef: { apiVersion: apps/v1, kind: Deployment, name: {{ $name }} }
  minReplicas: {{ .Values.gateway.replicas }}
  maxReplicas: {{ .Values.gateway.maxReplicas }}
  metrics:
  - type: Resource
    resource: { name: cpu, target: { type: Utilization, averageUtilization: {{ .Values.gateway.targetCpuPercent }} } }
{{- end }}
{{- end }}

{{- define "jwt-reissuer.placement" -}}
automountServiceAccountToken: false
{{- with .Values.gateway.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.gateway.tolerations }}
tolerations: {{- toYaml . | nindent 0 }}
{{- end }}
{{- with .Values.gateway.topologySpreadConstraints }}
topologySpreadConstraints: {{- toYaml . | nindent 0 }}
{{- end }}
{{- end }}

{{/* Where `helm test` reaches the gateway inside the cluster, as host:port. */}}
{{- define "jwt-reissuer.serviceAddress" -}}
{{- if .Values.test.address -}}
{{ .Values.test.address }}
{{- else if or (eq .Values.mode "envoy") (and (eq .Values.mode "istio") .Values.istio.gateway.create) -}}
{{ include "jwt-reissuer.gatewayName" . }}.{{ .Release.Namespace }}.svc.cluster.local:443
{{- else if and (eq .Values.mode "envoy-gateway") .Values.envoyGateway.gateway.create -}}
{{ include "jwt-reissuer.gatewayName" . }}.{{ include "jwt-reissuer.proxyNamespace" . }}.svc.cluster.local:443
{{- else -}}
{{ include "jwt-reissuer.issuerHost" . }}:443
{{- end }}
{{- end }}
