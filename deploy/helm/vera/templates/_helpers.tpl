{{/* One name for all objects of a release. */}}
{{- define "vera.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "vera.selector" -}}
app.kubernetes.io/name: vera
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "vera.labels" -}}
{{ include "vera.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "vera.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* Whether pods render their repository. */}}
{{- define "vera.renders" -}}
{{- if not .Values.repository.claim }}true{{ end -}}
{{- end -}}

{{/* Seconds from the start of the end to the kill: besides the drains, 30 s for streams that a client did not close. */}}
{{- define "vera.gracePeriod" -}}
{{- add .Values.drain.gateways .Values.drain.cases 30 -}}
{{- end -}}

{{/* What the restricted level of the pod security standards asks of a container, and a read-only root. */}}
{{- define "vera.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}
