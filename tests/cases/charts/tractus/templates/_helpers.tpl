{{- define "tractus.fullname" -}}{{ .Release.Name }}-{{ .Chart.Name }}{{- end }}
{{- define "tractus.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
