package deploy

import (
	"slices"
	"strings"
	"testing"
)

// wildcards are the statements that allow something on Resource "*", and why. The endpoints'
// policies are held by their conditions, which TestEndpointsServeThisAccountAlone reads.
var wildcards = map[string]string{
	"proxy.yaml ExecutionRole Login":                "ecr:GetAuthorizationToken has no resource",
	"pipeline.yaml Role Look":                       "these have no resource, and only read",
	"function.yaml Role NetworkInterfaces":          "Lambda checks for these on every resource before it makes a function in a VPC",
	"probe.yaml Role NetworkInterfaces":             "the same",
	"probe.yaml Role Token":                         "the same as of function.yaml",
	"network.yaml S3Endpoint OursAlone":             "conditions",
	"network.yaml DynamoDbEndpoint OursAlone":       "conditions",
	"network.yaml ProxyS3Endpoint OursAlone":        "conditions",
	"network.yaml StsEndpoint OursAlone":            "conditions",
	"network.yaml StsEndpoint TokensForTheProxy":    "conditions; a token has no resource",
	"posture.yaml ExecutionRole Login":              "ecr:GetAuthorizationToken has no resource to be named",
	"posture.yaml TaskRole Read":                    "calls that read an account as a whole; posture iam-policy prints them",
	"function.yaml Role Token":                      "sts:GetWebIdentityToken has no resource; its condition has the audience",
	"network.yaml SecretsManagerEndpoint OursAlone": "conditions",
	"network.yaml SsmEndpoint OursAlone":            "conditions",
	"network.yaml LogsEndpoint OursAlone":           "conditions",
	"network.yaml Further1Endpoint OursAlone":       "conditions",
	"network.yaml Further2Endpoint OursAlone":       "conditions",
	"network.yaml Further3Endpoint OursAlone":       "conditions",
}

// statement is a statement of a policy and where it stands.
type statement struct {
	where string
	body  any
}

// statements returns every statement of every policy of the templates.
func statements(t *testing.T) (all []statement) {
	t.Helper()
	for _, tmpl := range templates(t) {
		for name, r := range tmpl.Resources {
			documents := []any{r.Properties["PolicyDocument"]}
			inline, _ := r.Properties["Policies"].([]any)
			for _, p := range inline {
				documents = append(documents, at(p, "PolicyDocument"))
			}
			if r.Properties["ManagedPolicyArns"] != nil {
				t.Errorf("%s: %s has policies that cannot be read here", tmpl.name, name)
			}
			for _, d := range documents {
				if d == nil {
					continue
				}
				for _, s := range choices(at(d, "Statement")) {
					sid, _ := at(s, "Sid").(string)
					all = append(all, statement{strings.TrimSpace(tmpl.name + " " + name + " " + sid), s})
				}
			}
		}
	}
	if len(all) < 10 {
		t.Fatalf("%d statements found", len(all))
	}
	return all
}

// list returns a text as a list of one.
func list(v any) []any {
	if l, ok := v.([]any); ok {
		return l
	}
	return []any{v}
}

func TestRolesMayDoOnlyWhatTheyNeed(t *testing.T) {
	t.Parallel()
	used := map[string]bool{}
	for _, s := range statements(t) {
		if at(s.body, "Effect") == "Deny" {
			continue
		}
		for _, a := range list(at(s.body, "Action")) {
			action, ok := a.(string)
			if !ok {
				t.Fatalf("%s: %s", s.where, text(t, s.body))
			}
			endpoint := strings.Contains(s.where, "Endpoint ")
			if (action == "*" || strings.HasSuffix(action, ":*")) && !endpoint {
				t.Errorf("%s allows %s", s.where, action)
			}
		}
		if slices.Contains(list(at(s.body, "Resource")), any("*")) {
			used[s.where] = true
			if wildcards[s.where] == "" {
				t.Errorf("%s allows something on every resource", s.where)
			}
		}
	}
	for where := range wildcards {
		if !used[where] {
			t.Errorf("%s is on the list of wildcards and needs none", where)
		}
	}
}

func TestTaskMayReadItsPolicyAndNothingElse(t *testing.T) {
	t.Parallel()
	var actions []string
	for _, s := range statements(t) {
		if strings.HasPrefix(s.where, "proxy.yaml TaskRole ") {
			for _, a := range list(at(s.body, "Action")) {
				actions = append(actions, a.(string))
			}
			resource := text(t, at(s.body, "Resource"))
			ours := strings.Contains(resource, ":s3:::${PolicyBucket}")
			key := resource == `{"Ref":"KmsKeyArn"}` && strings.Contains(text(t, at(s.body, "Condition")), "kms:ViaService")
			if !ours && !key {
				t.Errorf("%s reaches %s", s.where, resource)
			}
		}
	}
	slices.Sort(actions)
	if !slices.Equal(actions, []string{"kms:Decrypt", "s3:GetObject", "s3:ListBucket"}) {
		t.Errorf("the task may %v", actions)
	}
}

func TestPolicyBucketIsVersionedEncryptedAndNotPublic(t *testing.T) {
	t.Parallel()
	each(t, "AWS::S3::Bucket", func(tmpl *template, name string, r resource) {
		r.want(t, "Enabled", "VersioningConfiguration", "Status")
		for key, want := range map[string]string{"": "AES256", "arn:aws:kms:eu-west-1:111122223333:key/1": "aws:kms"} {
			deployed(t, tmpl.name, settings{"KmsKeyArn": key}).Resources[name].
				want(t, want, "BucketEncryption", "ServerSideEncryptionConfiguration", 0, "ServerSideEncryptionByDefault", "SSEAlgorithm")
		}
		for _, key := range []string{"BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"} {
			r.want(t, true, "PublicAccessBlockConfiguration", key)
		}
		if r.DeletionPolicy != "RetainExceptOnCreate" || r.UpdateReplacePolicy != "Retain" {
			t.Errorf("%s: %s goes with its stack", tmpl.name, name)
		}
	})
	each(t, "AWS::S3::BucketPolicy", func(_ *template, _ string, r resource) {
		r.want(t, "Deny", "PolicyDocument", "Statement", 0, "Effect")
		r.want(t, map[string]any{"Bool": map[string]any{"aws:SecureTransport": "false"}}, "PolicyDocument", "Statement", 0, "Condition")
	})
	each(t, "AWS::ECR::Repository", func(_ *template, _ string, r resource) {
		r.want(t, "IMMUTABLE", "ImageTagMutability")
		if r.DeletionPolicy != "RetainExceptOnCreate" || r.UpdateReplacePolicy != "Retain" {
			t.Error("the repository goes with its stack, or stays behind one that was not made")
		}
	})
}
