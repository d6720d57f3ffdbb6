{{- define "sluicegate.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "sluicegate.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "sluicegate.labels" -}}
{{ include "sluicegate.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "sluicegate.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* What the server and what prepares its home have in common. */}}
{{- define "sluicegate.container" -}}
image: {{ include "sluicegate.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
env:
  {{- if .Values.database.existingSecret }}
  - name: SLUICEGATE_DATABASE_URL
    valueFrom: {secretKeyRef: {name: {{ .Values.database.existingSecret }}, key: url}}
  {{- end }}
  {{- if .Values.ollama.url }}
  - name: OLLAMA_HOST
    value: {{ .Values.ollama.url | quote }}
  {{- end }}
  {{- with .Values.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .Values.envFrom }}
envFrom: {{- toYaml . | nindent 2 }}
{{- end }}
resources: {{- toYaml .Values.resources | nindent 2 }}
volumeMounts:
  - {name: home, mountPath: /var/lib/sluicegate}
  - {name: tmp, mountPath: /tmp}
  {{- if .Values.tokens.existingSecret }}
  - {name: tokens, mountPath: /etc/sluicegate, readOnly: true}
  {{- end }}
{{- end -}}
