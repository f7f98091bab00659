{{/* Parts of Envoy's configuration, which every mode puts where its control plane takes them. */}}

{{/* A listener inside of Envoy that answers with the keyring, and the cluster that leads to it. */}}
{{- define "jwt-reissuer.signingKeysListener" -}}
name: signing_keys
internal_listener: {}
filter_chains:
- filters:
  - name: envoy.filters.network.http_connection_manager
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
      stat_prefix: signing_keys
      route_config:
        name: signing_keys
        virtual_hosts:
        - name: signing_keys
          domains: ["*"]
          routes:
          - match: { path: /, headers: [ { name: ":method", string_match: { exact: GET } } ] }
            direct_response:
              status: 200
              body_format: { text_format_source: { inline_string: "%REQ(x-signing-keys)%" } }
      http_filters:
      - name: envoy.filters.http.router
        typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
{{- end }}

{{- define "jwt-reissuer.signingKeysCluster" -}}
name: signing_keys
type: STATIC
connect_timeout: 2s
load_assignment:
  cluster_name: signing_keys
  endpoints: [ { lb_endpoints: [ { endpoint: { address: { envoy_internal_address: { server_listener_name: signing_keys } } } } ] } ]
typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    explicit_http_config: { http_protocol_options: {} }
    http_filters:
    - name: envoy.filters.http.credential_injector
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.filters.http.credential_injector.v3.CredentialInjector
        overwrite: true
        credential:
          name: envoy.http.injected_credentials.generic
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.http.injected_credentials.generic.v3.Generic
            header: x-signing-keys
            credential:
              name: signing-keys
              sds_config: { resource_api_version: V3, path_config_source: { path: /etc/jwt-reissuer/sds/signing-keys.yaml } }
    - name: envoy.filters.http.upstream_codec
      typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec }
{{- end }}

{{/* A listener inside of Envoy with one route: GET of the API server's public keys, by the cluster that has the gateway's token. */}}
{{- define "jwt-reissuer.jwksListener" -}}
name: kubernetes_jwks
internal_listener: {}
filter_chains:
- filters:
  - name: envoy.filters.network.http_connection_manager
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
      stat_prefix: kubernetes_jwks
      route_config:
        name: kubernetes_jwks
        virtual_hosts:
        - name: kubernetes_jwks
          domains: ["*"]
          routes:
          - match: { path: /openid/v1/jwks, headers: [ { name: ":method", string_match: { exact: GET } } ] }
            route: { cluster: kubernetes_api_with_token, timeout: 2s, host_rewrite_literal: kubernetes.default.svc }
      http_filters:
      - name: envoy.filters.http.router
        typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
{{- end }}

{{- define "jwt-reissuer.jwksListenerCluster" -}}
name: kubernetes
type: STATIC
connect_timeout: 2s
load_assignment:
  cluster_name: kubernetes
  endpoints: [ { lb_endpoints: [ { endpoint: { address: { envoy_internal_address: { server_listener_name: kubernetes_jwks } } } } ] } ]
{{- end }}

{{/* The API server: {name, token}. Its certificate is checked by CA and name: a server in its place could have any token issued. */}}
{{- define "jwt-reissuer.apiServerCluster" -}}
name: {{ .name }}
type: STRICT_DNS
dns_lookup_family: V4_PREFERRED
connect_timeout: 2s
load_assignment:
  cluster_name: {{ .name }}
  endpoints: [ { lb_endpoints: [ { endpoint: { address: { socket_address: { address: kubernetes.default.svc.cluster.local, port_value: 443 } } } } ] } ]
transport_socket:
  name: envoy.transport_sockets.tls
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
    sni: kubernetes.default.svc
    common_tls_context:
      combined_validation_context:
        default_validation_context:
          match_typed_subject_alt_names: [ { san_type: DNS, matcher: { exact: kubernetes.default.svc } } ]
        # By SDS, so that a replaced CA is in use without a restart.
        validation_context_sds_secret_config:
          name: cluster-ca
          sds_config:
            resource_api_version: V3
            path_config_source:
              path: /etc/jwt-reissuer/sds/cluster-ca.yaml
              watched_directory: { path: /etc/jwt-reissuer/kubernetes }
{{- if .token }}
typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    explicit_http_config: { http_protocol_options: {} }
    http_filters:
    - name: envoy.filters.http.credential_injector
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.filters.http.credential_injector.v3.CredentialInjector
        overwrite: true
        allow_request_without_credential: false
        credential:
          name: envoy.http.injected_credentials.generic
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.http.injected_credentials.generic.v3.Generic
            header: Authorization
            header_value_prefix: "Bearer "
            credential:
              name: kubernetes-token
              sds_config: { resource_api_version: V3, path_config_source: { path: /etc/jwt-reissuer/sds/kubernetes-token.yaml } }
    - name: envoy.filters.http.upstream_codec
      typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec }
{{- end }}
{{- end }}
