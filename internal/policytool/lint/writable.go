package lint

import (
	"slices"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
)

// writable is a host, or all names below one, through which anyone who has an account, or
// nobody's leave, can take data out: allowing it allows its every user.
type writable struct {
	Host     string // a pattern; REGION stands for one label
	Reason   string
	Narrower string // what would be better
}

// The narrower forms that many have in common.
const (
	ownEndpoint = "send it through a VPC endpoint whose policy names your account"
	ownName     = "write the names that are yours"
	ownMirror   = "use a mirror of your own"
	ownRelay    = "send it through a service of your own that knows the one address"
	ownResolver = "take it out: the proxy resolves names"
)

// Reasons that many have in common.
const (
	anyKeys   = "an API that takes the credentials of any account"
	anyBucket = "every account's buckets are behind it"
	anyTenant = "anyone can rent a name below it"
	anyRepo   = "anyone can push to a repository of their own"
	anyPage   = "anyone can publish there without an account of yours"
	anyHook   = "anyone can have a channel that receives what is posted"
	resolver  = "a resolver over HTTPS carries data in the names that it is asked"
)

// writables are those that are known. A test holds them to be patterns, each once.
var writables = []writable{
	{"api.github.com", "anyone can write to gists and repositories of their own", ownRelay},
	{"github.com", anyRepo, ownMirror},
	{"gist.github.com", anyPage, ownRelay},
	{"uploads.github.com", anyRepo, ownRelay},
	{"raw.githubusercontent.com", "it serves what anyone has pushed", ownMirror},
	{"gist.githubusercontent.com", "it serves what anyone has posted", ownMirror},
	{"gitlab.com", anyRepo, ownMirror},
	{"bitbucket.org", anyRepo, ownMirror},
	{"api.bitbucket.org", anyRepo, ownRelay},
	{"registry.npmjs.org", "anyone can publish a package", ownMirror},
	{"upload.pypi.org", "anyone can publish a package", ownMirror},
	{"s3.amazonaws.com", anyBucket, "write bucket.s3.REGION.amazonaws.com"},
	{"s3.REGION.amazonaws.com", anyBucket, "write bucket.s3.REGION.amazonaws.com"},
	{"s3.dualstack.REGION.amazonaws.com", anyBucket, "write bucket.s3.dualstack.REGION.amazonaws.com"},
	{"s3-fips.REGION.amazonaws.com", anyBucket, "write bucket.s3-fips.REGION.amazonaws.com"},
	{"s3-accelerate.amazonaws.com", anyBucket, "write bucket.s3-accelerate.amazonaws.com"},
	{"sqs.REGION.amazonaws.com", anyKeys, ownEndpoint},
	{"sns.REGION.amazonaws.com", anyKeys, ownEndpoint},
	{"dynamodb.REGION.amazonaws.com", anyKeys, ownEndpoint},
	{"kinesis.REGION.amazonaws.com", anyKeys, ownEndpoint},
	{"firehose.REGION.amazonaws.com", anyKeys, ownEndpoint},
	{"logs.REGION.amazonaws.com", anyKeys, ownEndpoint},
	{"events.REGION.amazonaws.com", anyKeys, ownEndpoint},
	{"lambda.REGION.amazonaws.com", anyKeys, ownEndpoint},
	{"secretsmanager.REGION.amazonaws.com", anyKeys, ownEndpoint},
	{"ssm.REGION.amazonaws.com", anyKeys, ownEndpoint},
	{"*.execute-api.REGION.amazonaws.com", anyTenant, ownName},
	{"*.lambda-url.REGION.on.aws", anyTenant, ownName},
	{"*.cloudfront.net", anyTenant, ownName},
	{"storage.googleapis.com", anyBucket, "write bucket.storage.googleapis.com"},
	{"pubsub.googleapis.com", anyKeys, ownRelay},
	{"firestore.googleapis.com", anyKeys, ownRelay},
	{"www.googleapis.com", anyKeys, "write the host of the one API that is needed"},
	{"script.google.com", "anyone can have a script that receives what is posted", ownRelay},
	{"docs.google.com", "anyone can have a form that receives what is posted", ownRelay},
	{"*.run.app", anyTenant, ownName},
	{"*.cloudfunctions.net", anyTenant, ownName},
	{"*.firebaseio.com", anyTenant, ownName},
	{"*.blob.core.windows.net", anyTenant, "write account.blob.core.windows.net"},
	{"*.table.core.windows.net", anyTenant, "write account.table.core.windows.net"},
	{"*.queue.core.windows.net", anyTenant, "write account.queue.core.windows.net"},
	{"*.file.core.windows.net", anyTenant, "write account.file.core.windows.net"},
	{"*.azurewebsites.net", anyTenant, ownName},
	{"*.azurefd.net", anyTenant, ownName},
	{"graph.microsoft.com", anyKeys, ownRelay},
	{"*.r2.cloudflarestorage.com", anyTenant, ownName},
	{"*.digitaloceanspaces.com", anyTenant, ownName},
	{"*.backblazeb2.com", anyTenant, ownName},
	{"*.workers.dev", anyTenant, ownName},
	{"*.pages.dev", anyTenant, ownName},
	{"*.vercel.app", anyTenant, ownName},
	{"*.netlify.app", anyTenant, ownName},
	{"*.herokuapp.com", anyTenant, ownName},
	{"*.fastly.net", anyTenant, ownName},
	{"*.ngrok.io", "anyone can open a tunnel to their own machine", ownName},
	{"*.ngrok-free.app", "anyone can open a tunnel to their own machine", ownName},
	{"*.trycloudflare.com", "anyone can open a tunnel to their own machine", ownName},
	{"hooks.slack.com", anyHook, ownRelay},
	{"slack.com", anyHook, ownRelay},
	{"discord.com", anyHook, ownRelay},
	{"api.telegram.org", anyHook, ownRelay},
	{"hooks.zapier.com", anyHook, ownRelay},
	{"maker.ifttt.com", anyHook, ownRelay},
	{"webhook.site", "it shows to anyone what is posted", ownRelay},
	{"*.pipedream.net", "it shows to its user what is posted", ownRelay},
	{"pastebin.com", anyPage, ownRelay},
	{"paste.ee", anyPage, ownRelay},
	{"dpaste.com", anyPage, ownRelay},
	{"transfer.sh", anyPage, ownRelay},
	{"file.io", anyPage, ownRelay},
	{"0x0.st", anyPage, ownRelay},
	{"content.dropboxapi.com", anyKeys, ownRelay},
	{"dns.google", resolver, ownResolver},
	{"cloudflare-dns.com", resolver, ownResolver},
	{"one.one.one.one", resolver, ownResolver},
	{"dns.quad9.net", resolver, ownResolver},
	{"doh.opendns.com", resolver, ownResolver},
	{"dns.adguard-dns.com", resolver, ownResolver},
	{"dns.nextdns.io", resolver, ownResolver},
}

// writableBy returns what a pattern opens of those hosts, the first of them; nil: none.
func writableBy(p hostname.Pattern) *writable {
	for i := range writables {
		if opens(p, writables[i].Host) {
			return &writables[i]
		}
	}
	return nil
}

// opens reports whether a pattern covers a host of the table: the name, or all the names
// below it. A name below a wildcard of the table is somebody's own.
func opens(p hostname.Pattern, host string) bool {
	return slices.ContainsFunc(p.Parts(), func(part hostname.Pattern) bool { return partOpens(part, host) })
}

// partOpens is that for a pattern that covers a name or those below one.
func partOpens(p hostname.Pattern, host string) bool {
	labels, wanted := strings.Split(p.String(), "."), strings.Split(host, ".")
	if p.Wildcard() {
		labels = labels[1:]
		if len(wanted) <= len(labels) {
			return false
		}
		wanted = wanted[len(wanted)-len(labels):]
	}
	if len(labels) != len(wanted) {
		return false
	}
	for i := range labels {
		if wanted[i] != labels[i] && wanted[i] != "REGION" {
			return false
		}
	}
	return true
}
