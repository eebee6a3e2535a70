# The image of the proxy: one static binary and the CA certificates, for amd64 and arm64.
#
#   docker buildx build --platform linux/amd64,linux/arm64 --build-arg VERSION=v1.0.0 -t REPOSITORY:v1.0.0 --push .
#
# The builder is named by tag and not by digest, so that every build has the newest patch release
# of Go 1.26; "proxy version" says which. Modules are what go.sum says. It runs on the machine's own
# architecture and cross-compiles: no emulation.
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETOS=linux
ARG TARGETARCH
ARG VERSION=""
# -buildvcs=true fails where .git is missing: an image that cannot say which commit it is made of is
# no evidence.
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -buildvcs=true -ldflags "-s -w -X main.version=$VERSION" -o /image/proxy ./cmd/proxy
# For https:// sources of the policy, S3 among them.
RUN mkdir -p /image/etc/ssl/certs && cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/

# Nothing else is in it: no shell, no package to be patched, no second base image to follow.
FROM scratch
COPY --from=build /image/ /
# A number, so that nothing has to look a name up. The root file system can be read-only: the
# proxy writes to standard output and standard error alone.
USER 65532:65532
EXPOSE 3128
# The health check is the task definition's ["CMD", "/proxy", "healthcheck", "--live"]: ECS ignores one that
# stands here.
ENTRYPOINT ["/proxy"]
CMD ["run"]
