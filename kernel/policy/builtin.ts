/**
 * What holds before anybody has published a policy. Towards the outside: a host for which the caller holds a secret, and
 * hosts that the configuration opens. For tools: by the risk that they declare.
 */
export const BUILTIN_POLICY = `version: 1
default: deny
rules:
  - id: bound-hosts
    host: "*"
    effect: allow
    when: request.credentialed || request.listed
  - id: harmless-tools
    tool: "*"
    effect: allow
    when: tool.risk in ["read", "write"]
  - id: risky-tools
    tool: "*"
    effect: approve
    gate: default
    when: tool.risk in ["destructive", "financial", "customer_facing"]
    message: A person has to approve this call.
tests:
  - {name: a host with a bound secret, request: {host: api.example.com, credentialed: true}, expect: allow, rule: bound-hosts}
  - {name: an open host, request: {host: pypi.org, listed: true}, expect: allow}
  - {name: any other host, request: {host: example.com}, expect: deny}
  - {name: reading, request: {tool: {name: any, risk: read}}, expect: allow}
  - {name: money, request: {tool: {name: any, risk: financial}}, expect: approve, rule: risky-tools}
  - {name: a risk that nobody knows, request: {tool: {name: any, risk: new}}, expect: deny}
`;
