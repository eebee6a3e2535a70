#!/usr/bin/env bash
# Builds the layer for one architecture: the extension, the wrapper and Node's preload, as they
# lie below /opt of a function. It needs Go and zip.
#
#   deploy/lambda/layer.sh arm64 egress-layer-arm64.zip
#   aws s3 cp egress-layer-arm64.zip s3://BUCKET/
#   aws cloudformation deploy --template-file deploy/lambda/layer.yaml --stack-name egress-layer \
#     --parameter-overrides Bucket=BUCKET Key=egress-layer-arm64.zip Architecture=arm64
set -euo pipefail
[ $# = 2 ] || { printf 'usage: deploy/lambda/layer.sh amd64|arm64 FILE.zip\n' >&2; exit 2; }
case "$1" in amd64 | arm64) ;; *) printf '%s: Lambda has amd64 and arm64\n' "$1" >&2; exit 2 ;; esac
mkdir -p "$(dirname "$2")"
out="$(cd "$(dirname "$2")" && pwd)/$(basename "$2")"
cd "$(dirname "$0")/../.."
stage="$(mktemp -d)"
trap 'rm -rf "$stage"' EXIT
mkdir -p "$stage/extensions" "$stage/egress"
CGO_ENABLED=0 GOOS=linux GOARCH="$1" go build -trimpath -ldflags '-s -w' -o "$stage/extensions/egress" ./cmd/extension
cp deploy/lambda/wrapper deploy/lambda/node.cjs "$stage/egress/"
chmod 755 "$stage/extensions/egress" "$stage/egress/wrapper"
# The same sources give the same archive.
find "$stage" -exec touch -d @315532800 {} +
rm -f "$out"
(cd "$stage" && zip -q -X -9 -r "$out" egress extensions)
