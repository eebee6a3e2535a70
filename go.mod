module github.com/lambda-egress-proxy/lambda-egress-proxy

go 1.26.0

require (
	github.com/KimMachineGun/automemlimit v1.0.1 // the memory limit of the cgroup; cmd/proxy alone
	github.com/Shopify/toxiproxy/v2 v2.5.0 // tests: internal/torture slows and cuts connections with it
	// The AWS SDK reads the policy from S3 (--config s3://…), with the credentials of the
	// task: signatures and their rotation are not for us to write. internal/source,
	// internal/extension/stsclient and internal/posture/reader alone.
	github.com/aws/aws-sdk-go-v2 v1.48.0
	github.com/aws/aws-sdk-go-v2/config v1.33.18
	// cmd/posture reads AWS accounts with these; internal/posture/reader alone. The gate has
	// none of them.
	github.com/aws/aws-sdk-go-v2/credentials v1.21.0
	github.com/aws/aws-sdk-go-v2/feature/ec2/imds v1.20.9 // the extension: named to be switched off
	github.com/aws/aws-sdk-go-v2/service/ec2 v1.347.0 // cmd/posture
	github.com/aws/aws-sdk-go-v2/service/iam v1.66.0 // cmd/posture
	github.com/aws/aws-sdk-go-v2/service/lambda v1.115.0 // cmd/posture
	github.com/aws/aws-sdk-go-v2/service/route53resolver v1.45.0 // cmd/posture
	github.com/aws/aws-sdk-go-v2/service/s3 v1.114.10 // the policy, and cmd/posture
	github.com/aws/aws-sdk-go-v2/service/sts v1.52.0 // GetWebIdentityToken of the extension, GetCallerIdentity and AssumeRole of cmd/posture
	github.com/aws/smithy-go v1.28.9 // the SDK's logger, which is given ours, and its errors; with the SDK
	github.com/elazarl/goproxy v1.9.4 // the dispatch of CONNECT and plain HTTP; proxy alone, with all its ways to dial taken out
	github.com/gaissmai/bart v0.30.0 // the longest prefix that has an address: cidr rules and sources
	github.com/go-jose/go-jose/v4 v4.1.9 // signatures and key sets of tokens; callers list the algorithms; internal/attest alone
	github.com/google/go-cmp v0.7.0 // tests: differences that can be read
	github.com/hashicorp/hcl/v2 v2.25.0 // tests: deploy/ reads the Terraform module as Terraform does
	github.com/miekg/dns v1.1.73 // DNS messages, for the resolver and the filter
	github.com/pires/go-proxyproto v0.15.0 // PROXY protocol v1 and v2; v0.16.0 wants Go 1.26.9
	github.com/prometheus/client_golang v1.25.0 // metrics
	github.com/rogpeppe/go-internal v1.16.0 // tests: transcripts of the command line
	github.com/rs/zerolog v1.35.1 // tests: the logger that toxiproxy wants
	github.com/santhosh-tekuri/jsonschema/v6 v6.0.3 // tests: config/schema holds policies against their JSON Schema
	github.com/spf13/cobra v1.10.2 // commands and their help
	github.com/spf13/pflag v1.1.0 // flags, which cobra brings
	github.com/weppos/publicsuffix-go v0.50.3 // the Public Suffix List with its date; x/net's cannot list its rules
	github.com/zclconf/go-cty v1.19.0 // tests: the values of HCL
	golang.org/x/crypto v0.59.0 // cryptobyte, which reads the ClientHello
	golang.org/x/net v0.62.0 // idna; DNS and ICMP messages of posture probe; in tests html, and websocket, by which a browser is driven
	golang.org/x/sync v0.25.0 // errgroup, for what runs until one of it ends
	golang.org/x/sys v0.50.0 // the kernel's interface: epoll, splice, recvmmsg
	gopkg.in/yaml.v3 v3.0.1 // the policy file, with the line of every key
)

require (
	github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream v1.7.27 // indirect
	github.com/aws/aws-sdk-go-v2/internal/configsources v1.5.12 // indirect
	github.com/aws/aws-sdk-go-v2/internal/endpoints/v2 v2.8.12 // indirect
	github.com/aws/aws-sdk-go-v2/internal/v4a v1.5.12 // indirect
	github.com/aws/aws-sdk-go-v2/service/internal/accept-encoding v1.13.25 // indirect
	github.com/aws/aws-sdk-go-v2/service/internal/checksum v1.11.13 // indirect
	github.com/aws/aws-sdk-go-v2/service/internal/presigned-url v1.14.12 // indirect
	github.com/aws/aws-sdk-go-v2/service/internal/s3shared v1.20.12 // indirect
	github.com/aws/aws-sdk-go-v2/service/signin v1.13.1 // indirect
	github.com/aws/aws-sdk-go-v2/service/sso v1.39.5 // indirect
	github.com/aws/aws-sdk-go-v2/service/ssooidc v1.44.5 // indirect
	github.com/gorilla/mux v1.8.0 // indirect
	github.com/mattn/go-colorable v0.1.14 // indirect
	github.com/mattn/go-isatty v0.0.20 // indirect
	github.com/rs/xid v1.6.0 // indirect
	gopkg.in/tomb.v1 v1.0.0-20141024135613-dd632973f1e7 // indirect
)

require (
	github.com/agext/levenshtein v1.2.1 // indirect
	github.com/apparentlymart/go-textseg/v15 v15.0.0 // indirect
	github.com/apparentlymart/go-textseg/v17 v17.0.1 // indirect
	github.com/aws/aws-lambda-go v1.55.1 // posture probe as a function: the Runtime API, with its deadlines and reports of errors; 0 modules come with it
	github.com/beorn7/perks v1.0.1 // indirect
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/mitchellh/go-wordwrap v1.0.1 // indirect
	github.com/munnerz/goautoneg v0.0.0-20191010083416-a7dc8b61c822 // indirect
	github.com/pbnjay/memory v0.0.0-20210728143218-7b4eea64cf58 // indirect
	github.com/prometheus/client_model v0.6.3 // indirect
	github.com/prometheus/common v0.72.0 // indirect
	github.com/prometheus/procfs v0.22.0 // indirect
	golang.org/x/mod v0.42.0 // indirect
	golang.org/x/text v0.44.0 // indirect
	golang.org/x/tools v0.52.0 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
)
