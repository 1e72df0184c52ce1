{{- define "chatcluster.name" -}}
{{- .Values.name | default .Release.Name -}}
{{- end -}}
