{{/* The bootstrap of the plain Envoy. */}}
{{- define "jwt-reissuer.bootstrap" -}}
node: { id: {{ include "jwt-reissuer.name" . }}, cluster: {{ include "jwt-reissuer.name" . }} }
# The admin page can stop Envoy and dump its configuration: never outside of the pod.
admin: { address: { socket_address: { address: 127.0.0.1, port_value: 9901 } } }
bootstrap_extensions:
- name: envoy.bootstrap.internal_listener
  typed_config: { "@type": type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener }
overload_manager:
  resource_monitors:
  - name: envoy.resource_monitors.global_downstream_max_connections
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig
      max_active_downstream_connections: {{ .Values.envoy.maxConnections }}
static_resources:
  listeners:
  # TLS ends here, and nowhere else: there is no listener in clear text that could take a token before it redirects.
  - name: gateway
    address: { socket_address: { address: 0.0.0.0, port_value: 8443 } }
    per_connection_buffer_limit_bytes: 32768
    filter_chains:
    - transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            alpn_protocols: [h2, http/1.1]
            # By SDS, so that a renewed certificate is in use without a restart.
            tls_certificate_sds_secret_configs:
            - name: gateway-certificate
              sds_config:
                resource_api_version: V3
                path_config_source:
                  path: /etc/jwt-reissuer/sds/gateway-certificate.yaml
                  watched_directory: { path: /etc/jwt-reissuer/tls }
      filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: gateway
          use_remote_address: true
          request_headers_timeout: 10s
          # Requests that wait in a module that fails are answered when their stream has been idle for so long.
          stream_idle_timeout: 15s
          common_http_protocol_options: { idle_timeout: 3600s, headers_with_underscores_action: REJECT_REQUEST }
          http2_protocol_options: { max_concurrent_streams: 100, initial_stream_window_size: 65536, initial_connection_window_size: 1048576 }
          route_config:
            name: gateway
            virtual_hosts:
            # Our hosts have no backend. The filter answers before this route does; should it ever be missing, the route says so, and
            # a caller's token goes nowhere.
            - name: jwt-reissuer
              domains: ["*"]
              routes:
              - match: { prefix: "/" }
                direct_response: { status: 503, body: { inline_string: {{ include "jwt-reissuer.guardText" . | quote }} } }
          http_filters:
          - name: jwt_reissuer
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
              config:
                name: jwt_reissuer
                root_id: jwt_reissuer
                # A module that fails is loaded afresh. Never FAIL_OPEN, which lets requests through as if it were not there.
                failure_policy: FAIL_RELOAD
                # For `read_forms`; it changes nothing where that is not set.
                allow_on_headers_stop_iteration: true
                vm_config:
                  vm_id: jwt_reissuer
                  runtime: envoy.wasm.runtime.v8
                  code: { local: { filename: /etc/jwt-reissuer/module/jwt_reissuer.wasm } }
                  environment_variables: { host_env_keys: [REISSUER_SEALING_KEY] }
                configuration:
                  "@type": type.googleapis.com/google.protobuf.StringValue
                  value: {{ include "jwt-reissuer.config" . | quote }}
          - name: envoy.filters.http.router
            typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
  # Readiness and metrics, of the admin page alone these two paths.
  - name: metrics
    address: { socket_address: { address: 0.0.0.0, port_value: 9090 } }
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: metrics
          route_config:
            name: metrics
            virtual_hosts:
            - name: metrics
              domains: ["*"]
              routes:
              - match: { path: /ready, headers: [ { name: ":method", string_match: { exact: GET } } ] }
                route: { cluster: admin }
              - match: { path: /stats/prometheus, headers: [ { name: ":method", string_match: { exact: GET } } ] }
                route: { cluster: admin }
          http_filters:
          - name: envoy.filters.http.router
            typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
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
  - name: admin
    type: STATIC
    connect_timeout: 2s
    load_assignment:
      cluster_name: admin
      endpoints: [ { lb_endpoints: [ { endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: 9901 } } } } ] } ]
{{- end }}
