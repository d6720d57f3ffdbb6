{{- define "sluicegate.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "sluicegate.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "sluicegate.labels" -}}
{{ include "sluicegate.selector" . }}
{{ include "sluicegate.release" . }}
{{- end -}}

{{- define "sluicegate.release" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* Of workers: another name, for what the server has must be chosen by no other's labels. */}}
{{- define "sluicegate.worker.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}-worker
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "sluicegate.worker.labels" -}}
{{ include "sluicegate.worker.selector" . }}
{{ include "sluicegate.release" . }}
{{- end -}}

{{- define "sluicegate.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* What pods of the server and of workers have in common. */}}
{{- define "sluicegate.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
initContainers:
  # the models that the workflows name, and the indexes of their documents
  - name: prepare
    command: [sh, -ec]
    args:
      - {{ range $index, $path := .Values.workflows }}{{ if $index }} && {{ end }}sluicegate models pull {{ $path }}{{ if $.Values.ingest }} && sluicegate ingest {{ $path }}{{ end }}{{ end }}
    resources: {{- toYaml .Values.resources | nindent 6 }}
    {{- include "sluicegate.container" . | nindent 4 }}
volumes:
  - name: tmp
    emptyDir: {medium: Memory, sizeLimit: 512Mi}
  {{- if .Values.tokens.existingSecret }}
  - name: tokens
    # not writable by its group, which the server would refuse
    secret: {secretName: {{ .Values.tokens.existingSecret }}, defaultMode: 0440}
  {{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.topologySpreadConstraints }}
topologySpreadConstraints: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The volume of one pod's home. */}}
{{- define "sluicegate.home" -}}
accessModes: {{- toYaml .Values.home.accessModes | nindent 2 }}
{{- with .Values.home.storageClass }}
storageClassName: {{ . | quote }}
{{- end }}
resources: {requests: {storage: {{ .Values.home.size }}}}
{{- end -}}

{{/* What all containers have in common. */}}
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
{{- if or .Values.envFrom .Values.objectStorage.existingSecret }}
envFrom:
  {{- with .Values.objectStorage.existingSecret }}
  - secretRef: {name: {{ . }}}
  {{- end }}
  {{- with .Values.envFrom }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
volumeMounts:
  - {name: home, mountPath: /var/lib/sluicegate}
  - {name: tmp, mountPath: /tmp}
  {{- if .Values.tokens.existingSecret }}
  - {name: tokens, mountPath: /etc/sluicegate, readOnly: true}
  {{- end }}
{{- end -}}
