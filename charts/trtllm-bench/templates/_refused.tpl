{{/*
Keys of Google's published recipe, and what they are called here. The schema lets them through to be refused by name.
*/}}
{{- define "trtllm-bench.refused" -}}
{{- $ours := dict
  "dwsSettings" "dws.maxRunDurationSeconds"
  "huggingface" "huggingFace.secretName and huggingFace.secretKey (the Secret itself is made with kubectl)"
  "volumes" "cache.hostPath, weights and results"
  "service" "nothing: there is no Service, because nothing listens"
  "workload" "image, gpus, env and deployments[].files (points.txt, argv-*.txt, engine-*.yaml)"
  "network" "nothing: one node needs the default network only"
  "targetNodes" "nodeSelector (kubernetes.io/hostname), or avoidNodes"
  "workload_launcher" "launcher.script"
  "serving_config" "deployments[].files"
  "quantization" "nothing: the checkpoint says it"
-}}
{{- range $key, $name := $ours }}
{{- if hasKey $.Values $key }}
{{- fail (printf "\n\n%s is a key of the published A4X recipe; here it is %s. The chart's README has the whole table.\n" $key $name) }}
{{- end }}
{{- end }}
{{- end }}
