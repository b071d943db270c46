{{- define "trtllm-bench.labels" -}}
app.kubernetes.io/name: trtllm-bench
app.kubernetes.io/managed-by: {{ .root.Values.managedBy | default .root.Release.Service | quote }}
{{- with .root.Values.sweepId }}
trtllm-bench.sweep/sweep-id: {{ . | quote }}
{{- end }}
{{- with .deployment.deploymentId }}
trtllm-bench.sweep/deployment-id: {{ . | quote }}
{{- end }}
{{- with .deployment.engineIds }}
trtllm-bench.sweep/engine-id: {{ first . | quote }}
{{- end }}
{{- end }}

{{- define "trtllm-bench.annotations" -}}
{{- with .root.Values.sweepName }}
trtllm-bench.sweep/name: {{ . | quote }}
{{- end }}
{{- with .root.Values.owner }}
trtllm-bench.sweep/owner: {{ . | quote }}
{{- end }}
{{- with .deployment.engineIds }}
trtllm-bench.sweep/engine-ids: {{ join "," . | quote }}
{{- end }}
{{- with .deployment.attempts }}
trtllm-bench.sweep/attempts: {{ join " " . | quote }}
{{- end }}
{{- end }}

{{/* A volume that is a claim, a bucket, or nothing: (root, name, volume, readOnly). */}}
{{- define "trtllm-bench.volume" -}}
{{- if and .volume.claimName .volume.bucket }}
{{- fail (printf "\n\n%s.claimName and %s.bucket are both given; take one.\n" .name .name) }}
{{- end }}
{{- if .volume.claimName }}
- name: {{ .name }}
  persistentVolumeClaim:
    claimName: {{ .volume.claimName | quote }}
    readOnly: {{ .readOnly }}
{{- else if .volume.bucket }}
- name: {{ .name }}
  csi:
    driver: gcsfuse.csi.storage.gke.io
    readOnly: {{ .readOnly }}
    volumeAttributes:
      bucketName: {{ .volume.bucket | quote }}
      mountOptions: {{ .root.Values.gcsfuse.mountOptions | quote }}
{{- end }}
{{- end }}

{{/* Names of the variables that come from Secrets: the launcher takes their values out of all that leaves the pod. */}}
{{- define "trtllm-bench.secretNames" -}}
{{- $names := list }}
{{- range . }}
{{- if hasKey (.valueFrom | default dict) "secretKeyRef" }}
{{- $names = append $names .name }}
{{- end }}
{{- end }}
{{- join " " $names }}
{{- end }}

{{- define "trtllm-bench.podSpec" -}}
{{- $values := .root.Values -}}
restartPolicy: Never
activeDeadlineSeconds: {{ .podDeadline }}
terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds }}
{{- with $values.serviceAccountName }}
serviceAccountName: {{ . | quote }}
{{- end }}
{{- if kindIs "bool" $values.automountServiceAccountToken }}
automountServiceAccountToken: {{ $values.automountServiceAccountToken }}
{{- else if not (or .gcsfuse $values.serviceAccountName) }}
automountServiceAccountToken: false
{{- end }}
{{- with $values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with $values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.avoidNodes }}
affinity:
  nodeAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      nodeSelectorTerms:
        - matchExpressions:
            - key: kubernetes.io/hostname
              operator: NotIn
              values:
                {{- toYaml . | nindent 16 }}
{{- end }}
containers:
  - name: bench
    image: {{ .deployment.image | default $values.image | quote }}
    imagePullPolicy: {{ $values.imagePullPolicy }}
    command: [/bin/bash, /sweep/files/trtllm-bench.sh]
    env:
      - name: SWEEP_ID
        value: {{ $values.sweepId | quote }}
      - name: SWEEP_DEPLOYMENT_ID
        value: {{ .deployment.deploymentId | default .name | quote }}
      - name: SWEEP_IMAGE
        value: {{ .deployment.image | default $values.image | quote }}
      - name: SWEEP_NODE
        valueFrom:
          fieldRef:
            fieldPath: spec.nodeName
      - name: SWEEP_POD
        valueFrom:
          fieldRef:
            fieldPath: metadata.name
      {{- if or $values.weights.claimName $values.weights.bucket }}
      - name: SWEEP_WEIGHTS
        value: /weights
      {{- with $values.weights.model }}
      - name: SWEEP_WEIGHTS_MODEL
        value: {{ . | quote }}
      {{- end }}
      {{- end }}
      {{- if or $values.results.claimName $values.results.bucket }}
      - name: SWEEP_RESULTS
        value: /results
      {{- end }}
      {{- with $values.huggingFace.secretName }}
      - name: HF_TOKEN
        valueFrom:
          secretKeyRef:
            name: {{ . | quote }}
            key: {{ $values.huggingFace.secretKey | quote }}
            optional: true
      {{- end }}
      {{- with $values.env }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
      {{- with include "trtllm-bench.secretNames" $values.env }}
      - name: SWEEP_SECRETS
        value: {{ . | quote }}
      {{- end }}
    resources:
      limits:
        nvidia.com/gpu: {{ $values.gpus | quote }}
      requests:
        nvidia.com/gpu: {{ $values.gpus | quote }}
        {{- with $values.resources }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    securityContext:
      allowPrivilegeEscalation: false
      privileged: false
      capabilities:
        drop: [ALL]
    volumeMounts:
      - name: files
        mountPath: /sweep/files
        readOnly: true
      - name: cache
        mountPath: /cache
      - name: shm
        mountPath: /dev/shm
      {{- if or $values.weights.claimName $values.weights.bucket }}
      - name: weights
        mountPath: /weights
        readOnly: true
        {{- with $values.weights.subPath }}
        subPath: {{ . | quote }}
        {{- end }}
      {{- end }}
      {{- if or $values.results.claimName $values.results.bucket }}
      - name: results
        mountPath: /results
        {{- with $values.results.subPath }}
        subPath: {{ . | quote }}
        {{- end }}
      {{- end }}
volumes:
  - name: files
    configMap:
      name: {{ .name | quote }}
  - name: cache
    {{- if $values.cache.hostPath }}
    hostPath:
      path: {{ $values.cache.hostPath | quote }}
      type: DirectoryOrCreate
    {{- else }}
    emptyDir: {}
    {{- end }}
  - name: shm
    emptyDir:
      medium: Memory
      sizeLimit: {{ $values.shm.sizeLimit | quote }}
  {{- include "trtllm-bench.volume" (dict "root" .root "name" "weights" "volume" $values.weights "readOnly" true) | nindent 2 }}
  {{- include "trtllm-bench.volume" (dict "root" .root "name" "results" "volume" $values.results "readOnly" false) | nindent 2 }}
{{- end }}

{{- define "trtllm-bench.jobSpec" -}}
{{- $values := .root.Values }}
{{- $podDeadline := .deployment.activeDeadlineSeconds | default $values.activeDeadlineSeconds | int64 }}
{{- $claims := and $values.gcsfuse.claims (or $values.weights.claimName $values.results.claimName) }}
{{- $gcsfuse := or $values.weights.bucket $values.results.bucket $claims -}}
backoffLimit: 0
activeDeadlineSeconds: {{ add $podDeadline $values.pendingDeadlineSeconds }}
ttlSecondsAfterFinished: {{ $values.ttlSecondsAfterFinished }}
template:
  metadata:
    labels:
      {{- include "trtllm-bench.labels" . | nindent 6 }}
    {{- if or $gcsfuse $values.podAnnotations }}
    annotations:
      {{- if $gcsfuse }}
      gke-gcsfuse/volumes: "true"
      gke-gcsfuse/cpu-limit: "0"
      gke-gcsfuse/memory-limit: "0"
      gke-gcsfuse/ephemeral-storage-limit: "0"
      {{- end }}
      {{- with $values.podAnnotations }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    {{- end }}
  spec:
    {{- $_ := set . "podDeadline" $podDeadline }}
    {{- $_ := set . "gcsfuse" $gcsfuse }}
    {{- include "trtllm-bench.podSpec" . | nindent 4 }}
{{- end }}

{{- define "trtllm-bench.files" -}}
{{- with .root.Values.launcher.script }}
trtllm-bench.sh: {{ . | quote }}
{{- end }}
{{- with .root.Values.launcher.prepare }}
prepare.sh: {{ . | quote }}
{{- end }}
{{- with .root.Values.launcher.publish }}
publish.py: {{ . | quote }}
{{- end }}
{{- with .root.Values.launcher.telemetry }}
telemetry.py: {{ . | quote }}
{{- end }}
{{- range $name, $text := .deployment.files }}
{{ $name | quote }}: {{ $text | quote }}
{{- end }}
{{- end }}

{{- define "trtllm-bench.name" -}}
{{- if .deployment.name }}{{ .deployment.name }}{{ else if eq .count 1 }}{{ .root.Release.Name }}{{ else }}{{ .root.Release.Name }}-{{ .number }}{{ end }}
{{- end }}
