package deploy

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// container returns the one container of the task definition.
func container(t *testing.T) (task, proxy resource) {
	t.Helper()
	task = templates(t)["proxy.yaml"].Resources["Task"]
	all, _ := task.Properties["ContainerDefinitions"].([]any)
	if len(all) != 1 {
		t.Fatalf("%d containers, want 1", len(all))
	}
	return task, resource{Type: "container", Properties: all[0].(map[string]any)}
}

func TestRecordsBlockRatherThanGetLost(t *testing.T) {
	t.Parallel()
	_, c := container(t)
	c.want(t, "awslogs", "LogConfiguration", "LogDriver")
	c.want(t, "blocking", "LogConfiguration", "Options", "mode")
	c.want(t, map[string]any{"Ref": "LogGroup"}, "LogConfiguration", "Options", "awslogs-group")
	// It is a parameter: the group outlives a stack whose tasks could not start.
	if proxy := templates(t)["proxy.yaml"]; proxy.Parameters["LogGroup"].Type != "String" {
		t.Error("the log group is not given to proxy.yaml")
	}
}

func TestStopTimeoutOutlastsTheDrain(t *testing.T) {
	t.Parallel()
	_, c := container(t)
	stop := time.Duration(c.Properties["StopTimeout"].(int)) * time.Second
	if drain := samplePolicy(t).Limits.Drain; stop < drain+5*time.Second || stop > 120*time.Second {
		t.Errorf("StopTimeout is %v, limits.drain %v: want 5 s more, and 120 s at most", stop, drain)
	}
}

func TestIdleTunnelsEndBeforeTheLoadBalancerForgetsThem(t *testing.T) {
	t.Parallel()
	r := templates(t)["proxy.yaml"].Resources["Listener"]
	r.want(t, "tcp.idle_timeout.seconds", "ListenerAttributes", 0, "Key")
	seconds, err := strconv.Atoi(at(r.Properties, "ListenerAttributes", 0, "Value").(string))
	if err != nil {
		t.Fatal(err)
	}
	if idle := samplePolicy(t).Limits.IdleTimeout; seconds <= int(idle.Seconds()) {
		t.Errorf("limits.idle_timeout is %v, the load balancer's %d s", idle, seconds)
	}
}

func TestTaskHasNothingItDoesNotNeed(t *testing.T) {
	t.Parallel()
	task, c := container(t)
	c.want(t, true, "ReadonlyRootFilesystem")
	c.want(t, []any{"ALL"}, "LinuxParameters", "Capabilities", "Drop")
	if user := c.Properties["User"]; user != "65532" || !strings.Contains(read(t, "../Dockerfile"), "\nUSER "+user.(string)+":") {
		t.Errorf("the task runs as %v", user)
	}
	task.want(t, "awsvpc", "NetworkMode")
	task.want(t, []any{"FARGATE"}, "RequiresCompatibilities")
	for _, key := range []string{"Volumes", "PidMode", "IpcMode"} {
		task.want(t, nil, key)
	}
	for _, key := range []string{"EntryPoint", "Environment", "Secrets", "Privileged", "MountPoints"} {
		c.want(t, nil, key)
	}
}

func TestHealthCheckIsTheCommandOfTheProgram(t *testing.T) {
	t.Parallel()
	_, c := container(t)
	c.want(t, []any{"CMD", "/proxy", "healthcheck", "--live"}, "HealthCheck", "Command")
	source := read(t, "../cmd/proxy/healthcheck.go")
	if !strings.Contains(source, `Use:   "healthcheck"`) {
		t.Error("the program has no command healthcheck")
	}
	if !strings.Contains(source, `&live, "live"`) {
		t.Error("healthcheck has no flag --live")
	}
	// Without --admin it asks where the sample policy listens.
	if admin := samplePolicy(t).Listen.Admin.String(); !strings.Contains(source, `"admin", "`+admin+`"`) {
		t.Errorf("the program does not ask %s", admin)
	}
	if !strings.Contains(read(t, "../Dockerfile"), `ENTRYPOINT ["/proxy"]`) {
		t.Error("the image has no /proxy")
	}
	// It must not give up before the program does.
	if timeout := c.Properties["HealthCheck"].(map[string]any)["Timeout"].(int); timeout < 5 {
		t.Errorf("the timeout is %d s, the program's own is 4 s", timeout)
	}
}

func TestCommandReadsThePolicyFromTheBucketAndPrintsMetrics(t *testing.T) {
	t.Parallel()
	_, c := container(t)
	c.want(t, []any{"run", "--config", map[string]any{"Fn::Sub": "s3://${PolicyBucket}/${PolicyKey}"}, "--emf", "60s", "--emf-deployment", map[string]any{"Ref": "AWS::StackName"}, map[string]any{"Fn::Sub": "--emf-functions=${FunctionMetrics}"}}, "Command")
}

func TestDescriptorsSufficeForEveryTunnel(t *testing.T) {
	t.Parallel()
	_, c := container(t)
	c.want(t, "nofile", "Ulimits", 0, "Name")
	c.want(t, 65535, "Ulimits", 0, "SoftLimit")
	c.want(t, 65535, "Ulimits", 0, "HardLimit")
	limits := samplePolicy(t).Limits
	if need := 2*limits.Tunnels + limits.Unidentified; need > 65535 {
		t.Errorf("the sample policy needs %d descriptors", need)
	}
	for _, control := range c.Properties["SystemControls"].([]any) {
		if name := at(control, "Namespace").(string); !strings.HasPrefix(name, "net.") {
			t.Errorf("Fargate does not set %s", name)
		}
		if _, ok := at(control, "Value").(string); !ok {
			t.Errorf("%s is no text", text(t, control))
		}
	}
}

func TestServiceRunsOnFargateARMWithATaskForEveryZone(t *testing.T) {
	t.Parallel()
	proxy := templates(t)["proxy.yaml"]
	task, _ := container(t)
	task.want(t, map[string]any{"Ref": "Architecture"}, "RuntimePlatform", "CpuArchitecture")
	if got := proxy.Parameters["Architecture"].Default; got != "ARM64" {
		t.Errorf("the default architecture is %v", got)
	}
	service := proxy.Resources["Service"]
	service.want(t, "FARGATE", "LaunchType")
	service.want(t, "1.4.0", "PlatformVersion") // the first with systemControls
	service.want(t, "ENABLED", "AvailabilityZoneRebalancing")
	service.want(t, "DISABLED", "NetworkConfiguration", "AwsvpcConfiguration", "AssignPublicIp")
	service.want(t, map[string]any{"Ref": "ProxySubnets"}, "NetworkConfiguration", "AwsvpcConfiguration", "Subnets")
	service.want(t, 100, "DeploymentConfiguration", "MinimumHealthyPercent")
	service.want(t, map[string]any{"Enable": true, "Rollback": true}, "DeploymentConfiguration", "DeploymentCircuitBreaker")
	// A count here would scale a busy service in whenever the stack is updated.
	service.want(t, nil, "DesiredCount")
	target := proxy.Resources["ScalableTarget"]
	target.want(t, map[string]any{"Fn::FindInMap": []any{"Tasks", map[string]any{"Ref": "Zones"}, "Least"}}, "MinCapacity", "Fn::If", 2)
	target.want(t, map[string]any{"Ref": "MinimumTasks"}, "MinCapacity", "Fn::If", 1)
	for zones, m := range proxy.Mappings["Tasks"] {
		if n, err := strconv.Atoi(zones); err != nil || m["Least"] != max(n, 2) {
			t.Errorf("%v tasks in %s zones", m["Least"], zones)
		}
	}
	if a, b := proxy.Parameters["Zones"].Default, templates(t)["network.yaml"].Parameters["Zones"].Default; a != b {
		t.Errorf("proxy.yaml has %v zones, network.yaml %v", a, b)
	}
}

func TestServiceScalesOnCPUAndOnTunnels(t *testing.T) {
	t.Parallel()
	proxy := templates(t)["proxy.yaml"]
	const at = "TargetTrackingScalingPolicyConfiguration"
	proxy.Resources["ScaleOnCpu"].want(t, "ECSServiceAverageCPUUtilization", at, "PredefinedMetricSpecification", "PredefinedMetricType")
	tunnels := proxy.Resources["ScaleOnTunnels"]
	tunnels.want(t, map[string]any{
		"Namespace": "Egress", "MetricName": "Tunnels", "Statistic": "Average",
		"Dimensions": []any{map[string]any{"Name": "Deployment", "Value": map[string]any{"Ref": "AWS::StackName"}}},
	}, at, "CustomizedMetricSpecification")
	tunnels.want(t, map[string]any{"Ref": "TunnelsPerTask"}, at, "TargetValue")
	if per, most := proxy.Parameters["TunnelsPerTask"].Default.(int), samplePolicy(t).Limits.Tunnels; per >= most {
		t.Errorf("scaling aims at %d tunnels, limits.tunnels is %d", per, most)
	}
}

// attributes returns the attributes of a target group.
func attributes(r resource) map[string]any {
	all := map[string]any{}
	list, _ := r.Properties["TargetGroupAttributes"].([]any)
	for _, a := range list {
		all[at(a, "Key").(string)] = at(a, "Value")
	}
	return all
}

func TestTargetGroupsKeepTunnelsAndShowTheClient(t *testing.T) {
	t.Parallel()
	proxy := templates(t)["proxy.yaml"]
	each(t, "AWS::ElasticLoadBalancingV2::TargetGroup", func(_ *template, name string, r resource) {
		got := attributes(r)
		for key, want := range map[string]string{
			"load_balancing.cross_zone.enabled":                            "true",
			"deregistration_delay.connection_termination.enabled":          "false",
			"target_health_state.unhealthy.connection_termination.enabled": "false",
		} {
			if got[key] != want {
				t.Errorf("%s: %s is %v, want %s", name, key, got[key], want)
			}
		}
		if at(got["deregistration_delay.timeout_seconds"], "Ref") != "DeregistrationDelay" {
			t.Errorf("%s: the deregistration delay is %v", name, got["deregistration_delay.timeout_seconds"])
		}
	})
	if delay := proxy.Parameters["DeregistrationDelay"].Default.(int); delay < 60 || delay > 3600 {
		t.Errorf("the deregistration delay is %d s by default", delay)
	}
	// The proxy refuses a header from where none is expected, and misses one where it is.
	got := attributes(proxy.Resources["Targets"])
	header := len(samplePolicy(t).Listen.ProxyProtocolFrom) > 0
	if want := strconv.FormatBool(header); got["proxy_protocol_v2.enabled"] != want {
		t.Errorf("proxy_protocol_v2.enabled is %v, the sample policy wants %s", got["proxy_protocol_v2.enabled"], want)
	}
	if want := strconv.FormatBool(!header); got["preserve_client_ip.enabled"] != want {
		t.Errorf("preserve_client_ip.enabled is %v, want %s", got["preserve_client_ip.enabled"], want)
	}
	// Checks with a header can only be answered by the listener that expects one.
	proxy.Resources["Targets"].want(t, "TCP", "HealthCheckProtocol")
	proxy.Resources["Targets"].want(t, "traffic-port", "HealthCheckPort")
	proxy.Resources["Targets"].want(t, int(samplePolicy(t).Listen.Proxy.Port()), "Port")
	proxy.Resources["LoadBalancer"].want(t, "internal", "Scheme")
}

func TestLogsAreKeptForAYearAndOutliveTheStack(t *testing.T) {
	t.Parallel()
	each(t, "AWS::Logs::LogGroup", func(tmpl *template, name string, r resource) {
		days := r.Properties["RetentionInDays"]
		if parameter, ok := at(days, "Ref").(string); ok {
			days = tmpl.Parameters[parameter].Default
		}
		switch d, _ := days.(int); {
		case d == 0:
			t.Errorf("%s: %s has no retention", tmpl.name, name)
		case tmpl.name == "function.yaml": // a sample's own chatter, no evidence
		case d < 365 || r.DeletionPolicy != "RetainExceptOnCreate" || r.UpdateReplacePolicy != "Retain":
			t.Errorf("%s: %s is kept for %d days, on deletion: %s", tmpl.name, name, d, r.DeletionPolicy)
		}
	})
}

func TestDockerfileMakesAStaticImageOfOneBinary(t *testing.T) {
	t.Parallel()
	lines := strings.Split(read(t, "../Dockerfile"), "\n")
	var said []string
	for _, l := range lines {
		if l != "" && !strings.HasPrefix(l, "#") {
			said = append(said, l)
		}
	}
	final := said[slices.Index(said, "FROM scratch"):]
	for _, want := range []string{"COPY --from=build /image/ /", "USER 65532:65532", `ENTRYPOINT ["/proxy"]`} {
		if !slices.Contains(final, want) {
			t.Errorf("the image is not made with %q", want)
		}
	}
	for _, l := range said {
		if strings.HasPrefix(l, "HEALTHCHECK") {
			t.Error("ECS ignores HEALTHCHECK; it belongs into the task definition")
		}
	}
	all := strings.Join(said, "\n")
	for _, want := range []string{
		"FROM --platform=$BUILDPLATFORM golang:1.26 AS build", "CGO_ENABLED=0", "GOARCH=$TARGETARCH",
		"-trimpath", "-buildvcs=true", `-ldflags "-s -w -X main.version=$VERSION"`, "/etc/ssl/certs/ca-certificates.crt",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("the Dockerfile has no %s", want)
		}
	}
	if mod := read(t, "../go.mod"); !strings.Contains(mod, "\ngo 1.26") {
		t.Error("go.mod wants another Go than the Dockerfile")
	}
	// The commit comes from .git, and a tracked file that is left out marks it as modified.
	ignored, err := os.ReadFile("../.dockerignore")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(ignored)) {
		if strings.HasPrefix(line, ".git") || strings.HasPrefix(line, "/.git") {
			t.Errorf(".dockerignore leaves out %s", line)
		}
	}
}
