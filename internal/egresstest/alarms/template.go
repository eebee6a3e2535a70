package alarms

import (
	"fmt"
	"strings"
)

// dimensions are those of an alarm's metric, by namespace, as the template has them.
var dimensions = map[string]string{
	Namespace:        "[{Name: Deployment, Value: !Ref Deployment}]",
	"AWS/Logs":       "[{Name: LogGroupName, Value: !Ref LogGroup}]",
	"AWS/ECS":        "[{Name: ClusterName, Value: !Ref Cluster}, {Name: ServiceName, Value: !Ref Service}]",
	"AWS/NetworkELB": "[{Name: TargetGroup, Value: !Ref TargetGroup}, {Name: LoadBalancer, Value: !Ref LoadBalancer}]",
}

// Template returns the alarms as resources of a CloudFormation template.
func Template(table []Alarm) string {
	var b strings.Builder
	for i, a := range table {
		if i > 0 {
			b.WriteString("\n")
		}
		b.WriteString(a.resource())
	}
	return b.String()
}

// resource returns an alarm as a resource of a template.
func (a Alarm) resource() string {
	var b strings.Builder
	say := func(indent int, format string, args ...any) {
		b.WriteString(strings.Repeat(" ", indent) + fmt.Sprintf(format, args...) + "\n")
	}
	c := a.CloudWatch
	say(2, "%sAlarm:", a.Name)
	say(4, "Type: AWS::CloudWatch::Alarm")
	if c.Condition != "" {
		say(4, "Condition: %s", c.Condition)
	}
	say(4, "Properties:")
	say(6, "AlarmDescription: %q", fmt.Sprintf("%s: %s %s See %s#%s", a.Severity, a.Means, a.Do, Page, a.Anchor()))
	b.WriteString(c.watched())
	operator, threshold := c.comparison()
	say(6, "ComparisonOperator: %s", operator)
	say(6, "Threshold: %s", threshold)
	say(6, "EvaluationPeriods: %d", c.Of)
	if c.Periods != c.Of {
		say(6, "DatapointsToAlarm: %d", c.Periods)
	}
	say(6, "TreatMissingData: %s", c.Missing)
	for _, actions := range []string{"AlarmActions", "OKActions"} {
		say(6, "%s: !If [HasAlarmTopic, [!Ref AlarmTopicArn], !If [HasAlarmEmail, [!Ref AlarmTopic], !Ref AWS::NoValue]]", actions)
	}
	return b.String()
}

// watched returns the properties that say what an alarm watches.
func (c CloudWatch) watched() string {
	switch {
	case c.Share != nil:
		var b strings.Builder
		fmt.Fprintf(&b, "      Metrics:\n        - {Id: share, Label: %s, Expression: %q, ReturnData: true}\n", c.Share.Part, c.Share.expression())
		for id, name := range []string{c.Share.Part, c.Share.Whole} {
			fmt.Fprintf(&b, "        - Id: %s\n          ReturnData: false\n          MetricStat:\n", []string{"part", "whole"}[id])
			fmt.Fprintf(&b, "            Metric: {Namespace: %s, MetricName: %s, Dimensions: %s}\n            Period: %d\n            Stat: Sum\n", c.Namespace, name, dimensions[c.Namespace], c.Period)
		}
		return b.String()
	case c.Group != "":
		return fmt.Sprintf("      Metrics:\n        - Id: %s\n          Label: Decisions\n          Expression: !Sub %s\n          Period: %d\n          ReturnData: true\n", c.Group, query(c.Group), c.Period)
	default:
		return fmt.Sprintf("      Namespace: %s\n      MetricName: %s\n      Dimensions: %s\n      Statistic: %s\n      Period: %d\n", c.Namespace, c.Metric, dimensions[c.Namespace], c.Statistic, c.Period)
	}
}

// expression says of a share in metric math what Share says. It does not divide, for nothing
// may be the whole.
func (s Share) expression() string {
	return fmt.Sprintf("IF(part >= %d AND part * 100 > whole * %d, part, 0)", s.Least, s.Percent)
}

// query counts the decisions of each function for the reasons of a kind. The language knows
// no list, so it names those that are of another.
func query(kind string) string {
	var b strings.Builder
	b.WriteString(`SELECT SUM(Decisions) FROM SCHEMA(Egress, "Deployment", "Function", "Verdict", "Reason") WHERE "Deployment" = '${Deployment}' AND "Verdict" = 'deny'`)
	for _, r := range others(kind) {
		fmt.Fprintf(&b, ` AND "Reason" != '%s'`, r)
	}
	b.WriteString(` GROUP BY "Function" ORDER BY SUM() DESC`)
	return b.String()
}

// comparison returns the operator and the threshold as a template has them.
func (c CloudWatch) comparison() (operator, threshold string) {
	of := func(operator string, v any) (string, string) {
		if name, ok := v.(string); ok {
			return operator, "!Ref " + name
		}
		return operator, fmt.Sprint(v)
	}
	switch {
	case c.Share != nil:
		return "GreaterThanThreshold", "0"
	case c.Above != nil:
		return of("GreaterThanThreshold", c.Above)
	case c.Below != nil:
		return of("LessThanThreshold", c.Below)
	case c.Least != nil:
		return of("GreaterThanOrEqualToThreshold", c.Least)
	default:
		return of("LessThanOrEqualToThreshold", c.AtMost)
	}
}

// Rows returns the alarms as rows of the table in the README of the deployment.
func Rows(table []Alarm) string {
	var b strings.Builder
	for _, a := range table {
		fmt.Fprintf(&b, "| `%sAlarm` | %s | %s | %s [More](../../docs/operations.md#%s) |\n", a.Name, a.Severity, a.Means, a.Do, a.Anchor())
	}
	return b.String()
}
