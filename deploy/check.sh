#!/usr/bin/env bash
# Checks this folder as far as the machine allows: the tests, the image's layout, both
# architectures, cfn-lint, and the rehearsal of ecs/README.md against a simulation of AWS. What
# needs a tool that is not there is skipped with the reason. No image is pulled, no account
# is touched.
set -euo pipefail
cd "$(dirname "$0")/.."
tmp="$(mktemp -d)"
trap 'rm -rf "$tmp"' EXIT
failed=0

step() {
  printf '== %s\n' "$1"
  shift
  if "$@" >"$tmp/out" 2>&1; then
    sed 's/^/   /' "$tmp/out" | tail -n 40
    printf '   ok\n'
  else
    cat "$tmp/out"
    printf '   FAILED\n'
    failed=1
  fi
}

skip() { printf '== %s\n   skipped: %s\n' "$1" "$2"; }

# The other architecture compiles, and both binaries have the same size limit.
architectures() {
  local arch size
  for arch in amd64 arm64; do
    CGO_ENABLED=0 GOOS=linux GOARCH=$arch go build -trimpath -ldflags '-s -w' -o "$tmp/proxy-$arch" ./cmd/proxy || return 1
    size=$(wc -c <"$tmp/proxy-$arch")
    printf '%s: %d bytes\n' "$arch" "$size"
    [ "$size" -lt $((30 << 20)) ] || return 1
  done
}

# The same sources give the same bytes, whatever folder they lie in; posture with its clients of
# AWS, and the rest of a release, are left to .ci/snapshot.
reproducible() {
  local program
  mkdir "$tmp/elsewhere"
  cp -r go.mod go.sum cmd config dnsfilter internal proxy "$tmp/elsewhere/"
  for program in proxy posture; do
    (cd "$tmp/elsewhere" && CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$tmp/there" "./cmd/$program") || return 1
    CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$tmp/here" "./cmd/$program" || return 1
    cmp "$tmp/here" "$tmp/there" || return 1
  done
}

templates=(deploy/ecs/store.yaml deploy/ecs/network.yaml deploy/ecs/proxy.yaml deploy/ecs/watch.yaml deploy/ecs/function.yaml deploy/ecs/dns-firewall.yaml deploy/ecs/pipeline.yaml deploy/ecs/probe.yaml deploy/ecs/posture.yaml deploy/lambda/layer.yaml)

step 'tests' go test -count=1 ./deploy/
step 'the layout of the image, in a chroot' env DEPLOY_IMAGE=1 go test -count=1 -v -run '^Test(Binary|Image)' ./deploy/
step 'both architectures are under 30 MB' architectures
step 'the build is reproducible' reproducible
if command -v cfn-lint >/dev/null; then
  step 'cfn-lint' cfn-lint -- "${templates[@]}"
else
  skip 'cfn-lint' 'it is not installed (pip install cfn-lint)'
fi
if ! command -v aws >/dev/null; then
  skip 'the rehearsal' 'the AWS CLI is not installed'
elif ! python3 -c 'import awscli, boto3, moto.server' 2>/dev/null; then
  skip 'the rehearsal' 'moto is not installed (pip install awscli boto3 "moto[server,all]")'
else
  step 'the rehearsal' deploy/ecs/rehearse
fi
if docker info >/dev/null 2>&1; then
  step 'the image builds and answers' sh -c 'docker build -q -t egress-proxy:check . && docker run --rm --read-only egress-proxy:check version'
else
  skip 'the image builds with docker' 'no docker daemon answers; the layout was run in a chroot'
fi
[ "$failed" = 0 ]
