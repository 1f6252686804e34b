{{- define "dc-provider.labels" -}}
app.kubernetes.io/name: dc-provider
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "dc-provider.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}

{{/* The value of KEY in secret NAME if the cluster has it, else a new random one: generated once, kept on upgrade. */}}
{{- define "dc-provider.kept" -}}
{{- $secret := lookup "v1" "Secret" .root.Release.Namespace .name -}}
{{- if and $secret (hasKey $secret.data .key) -}}
{{ index $secret.data .key }}
{{- else -}}
{{ randAlphaNum 40 | b64enc }}
{{- end -}}
{{- end }}

{{/* What the store allows, checked once. */}}
{{- define "dc-provider.checkStore" -}}
{{- if not (has .Values.heap.store (list "bolt" "postgres")) -}}
{{- fail (printf "heap.store %q: give bolt or postgres" .Values.heap.store) -}}
{{- end -}}
{{- if and (eq .Values.heap.store "bolt") (gt (int .Values.replicas) 1) -}}
{{- fail (printf "replicas %d: with heap.store bolt there is one, because the store is a file that one process holds open; use postgres" (int .Values.replicas)) -}}
{{- end -}}
{{- if and (eq .Values.heap.store "postgres") (not .Values.heap.postgresSecret) -}}
{{- fail "heap.store postgres needs heap.postgresSecret, the name of a Secret whose key dsn holds postgres://USER:PASSWORD@HOST/DATABASE" -}}
{{- end -}}
{{- end }}
